//! The provider's paths: which lists it keeps, and where a path leads.

/// The objects of one list.
pub struct Kind {
    /// The list's name in a path.
    pub list: &'static str,
    /// What their ids begin with.
    pub prefix: &'static str,
    /// What they call themselves.
    pub object: &'static str,
}

const fn kind(list: &'static str, prefix: &'static str, object: &'static str) -> Kind {
    Kind {
        list,
        prefix,
        object,
    }
}

/// Files, wherever they are.
pub const FILE: Kind = kind("files", "file", "file");

static KINDS: [Kind; 17] = [
    FILE,
    kind("uploads", "upload", "upload"),
    kind("parts", "part", "upload.part"),
    kind("batches", "batch", "batch"),
    kind("fine_tuning/jobs", "ftjob", "fine_tuning.job"),
    kind("vector_stores", "vs", "vector_store"),
    kind("conversations", "conv", "conversation"),
    kind("items", "msg", "message"),
    kind("responses", "resp", "response"),
    kind("input_items", "msg", "message"),
    kind("chat/completions", "chatcmpl", "chat.completion"),
    kind("messages", "msg", "thread.message"),
    kind("assistants", "asst", "assistant"),
    kind("threads", "thread", "thread"),
    kind("runs", "run", "thread.run"),
    kind("containers", "cntr", "container"),
    kind("videos", "video", "video"),
];

/// Where a path leads.
pub struct Place<'p> {
    pub kind: &'static Kind,
    /// The path of the list.
    pub list: &'p str,
    /// The object within it.
    pub id: Option<&'p str>,
    /// What is to be done with the object, or which part of it is asked for.
    pub action: &'p str,
}

impl<'p> Place<'p> {
    /// Finds it for a path below `/v1/`.
    pub fn find(path: &'p str) -> Option<Self> {
        let mut at = 0;
        loop {
            let rest = &path[at..];
            let here = |kind: &&Kind| {
                let after = rest.strip_prefix(kind.list);
                after.is_some_and(|after| after.is_empty() || after.starts_with('/'))
            };
            let kind = KINDS.iter().find(here)?;
            at += kind.list.len();
            let list = &path[..at];
            let (id, action) = match path[at..].strip_prefix('/') {
                None => (None, ""),
                Some(below) => {
                    let (id, action) = below.split_once('/').unwrap_or((below, ""));
                    (Some(id), action)
                }
            };
            if KINDS.iter().all(|kind| !action.starts_with(kind.list)) {
                return Some(Self {
                    kind,
                    list,
                    id,
                    action,
                });
            }
            at = path.len() - action.len();
        }
    }
}
