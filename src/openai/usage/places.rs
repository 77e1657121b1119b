//! The places of an answer that report its usage.
//!
//! Owns which objects are entered, which of their members are kept, and which of several counts. Does not
//! handle how JSON is scanned (see `scanner`), nor what the members of a usage mean (see `counts`). Never
//! fails: a usage in an unknown place is not found.

use super::counts::{Counts, Fields};

/// The longest wanted key.
pub(super) const MAX_KEY_BYTES: usize = "service_tier".len();

/// An object or array of an answer that is entered, or a position outside the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Container {
    /// Before the answer begins.
    #[default]
    Start,
    /// The outermost object.
    Answer,
    /// The `response` in it: of an event of Responses or Realtime.
    Response,
    /// The `message` in it: Anthropic's `message_start`.
    Message,
    /// The `choices` in it.
    Choices,
    /// One of these: Moonshot puts the usage of a stream in the last.
    Choice,
    /// After the end of the answer, or in a body that is no object.
    Behind,
}

/// What a wanted member reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The usage.
    Usage,
    /// The service tier.
    Tier,
    /// Groq's own object, with the usage of a stream.
    Groq,
    /// Cohere's, with what is billed.
    Meta,
    /// The seconds of what was transcribed.
    Duration,
}

/// What is done with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// Its value is kept.
    Keep(Name),
    /// It is entered.
    Enter(Container),
}

impl Container {
    /// How many objects and arrays are open in it.
    pub(super) fn depth(self) -> u64 {
        match self {
            Self::Start | Self::Behind => 0,
            Self::Answer => 1,
            Self::Response | Self::Message | Self::Choices => 2,
            Self::Choice => 3,
        }
    }

    /// Whether it has members.
    pub(super) fn is_object(self) -> bool {
        matches!(
            self,
            Self::Answer | Self::Response | Self::Message | Self::Choice
        )
    }

    /// The container around it.
    pub(super) fn outer(self) -> Self {
        match self {
            Self::Start | Self::Answer | Self::Behind => Self::Behind,
            Self::Response | Self::Message | Self::Choices => Self::Answer,
            Self::Choice => Self::Choices,
        }
    }

    /// What is done with the member of this key, as it is written.
    pub(super) fn member(self, key: &[u8]) -> Option<Member> {
        match (self, key) {
            (Self::Answer | Self::Response | Self::Message | Self::Choice, b"usage") => {
                Some(Member::Keep(Name::Usage))
            }
            (Self::Answer | Self::Response, b"service_tier") => Some(Member::Keep(Name::Tier)),
            (Self::Answer, b"x_groq") => Some(Member::Keep(Name::Groq)),
            (Self::Answer, b"meta") => Some(Member::Keep(Name::Meta)),
            (Self::Answer, b"duration") => Some(Member::Keep(Name::Duration)),
            (Self::Answer, b"response") => Some(Member::Enter(Self::Response)),
            (Self::Answer, b"message") => Some(Member::Enter(Self::Message)),
            (Self::Answer, b"choices") => Some(Member::Enter(Self::Choices)),
            _ => None,
        }
    }

    /// The container that this bracket opens, directly within this one and after this key.
    pub(super) fn opens(self, key: &[u8], bracket: u8) -> Option<Self> {
        match (self, self.member(key), bracket) {
            (Self::Choices, _, b'{') => Some(Self::Choice),
            (_, Some(Member::Enter(Self::Choices)), b'[') => Some(Self::Choices),
            (_, Some(Member::Enter(container)), b'{') if container != Self::Choices => {
                Some(container)
            }
            _ => None,
        }
    }
}

/// The values that were found in one answer, at most one for each name of each container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found(pub(super) Vec<(Container, Name, Vec<u8>)>);

impl Found {
    /// Drops an earlier member with the same key: the last one counts.
    pub(super) fn forget(&mut self, container: Container, member: Member) {
        self.0.retain(|(in_container, name, _)| match member {
            // Of several choices the last that reports a usage counts, so none drops another's.
            Member::Keep(_) if container == Container::Choice => true,
            Member::Keep(kept) => (*in_container, *name) != (container, kept),
            Member::Enter(entered) => *in_container != entered && in_container.outer() != entered,
        });
    }

    /// Keeps a value.
    pub(super) fn keep(&mut self, container: Container, name: Name, json: Vec<u8>) {
        if container == Container::Choice {
            if json.trim_ascii() == b"null" {
                return;
            }
            self.0
                .retain(|(in_container, _, _)| *in_container != container);
        }
        self.0.push((container, name, json));
    }

    /// Whether one of Anthropic's messages begins here, of which later events report only what has
    /// changed.
    pub(super) fn begins_message(&self) -> bool {
        self.json(Container::Message, Name::Usage).is_some()
    }

    /// What was reported, if anything can be read: by the first place that reports it. Only the
    /// searches of a reranking may stand beside its usage, and what was transcribed counts by its
    /// time only when nothing else reports its usage.
    pub(super) fn counts(&self) -> Option<Counts> {
        let read = |container| Counts::read(&Fields::read(self.json(container, Name::Usage)?)?);
        let fields = |name| Fields::read(self.json(Container::Answer, name)?);
        let meta = fields(Name::Meta).and_then(|meta| Counts::read(&meta));
        let usage = [Container::Answer, Container::Response, Container::Message]
            .into_iter()
            .find_map(read)
            .or_else(|| Counts::read(&Fields::of(fields(Name::Groq)?.usage)?))
            .or_else(|| read(Container::Choice));
        let mut counts = match (usage, meta) {
            (Some(usage), Some(meta)) => usage.with_searches_of(&meta),
            (Some(usage), None) | (None, Some(usage)) => usage,
            (None, None) => Counts::of_audio(self.json(Container::Answer, Name::Duration)?)?,
        };
        for container in [Container::Answer, Container::Response] {
            let tier = self.json(container, Name::Tier);
            counts.add_tier(tier.and_then(|json| serde_json::from_str(json).ok()));
        }
        Some(counts)
    }

    /// The value of a member, unless it is not UTF-8.
    fn json(&self, container: Container, name: Name) -> Option<&str> {
        let mut found = self.0.iter();
        let (_, _, json) = found.find(|(of, is, _)| (*of, *is) == (container, name))?;
        str::from_utf8(json.trim_ascii()).ok()
    }
}
