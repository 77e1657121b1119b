//! How an upstream is asked to continue a message that an assistant has begun.
//!
//! Owns the forms, as data: what the last message and the request get besides the text. `docs/reference/failover.md`
//! has the sources. Does not handle where the message stands (see `request`). Fails for a name that has no row.

/// How an upstream continues a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefill {
    /// It does not, or it is not known to.
    #[default]
    None,
    /// It continues a message of the assistant's that comes last.
    Assistant,
    /// As vLLM and SGLang do.
    Vllm,
    /// As Mistral does.
    Mistral,
    /// As DeepSeek does, below `/beta`.
    Deepseek,
}

/// What an upstream may say again, before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing: it goes on with the next token.
    Nothing,
    /// All that has been said, or nothing.
    All,
    /// All, the last words, or nothing: it is not known what it does.
    Words,
}

/// A row of the table.
struct Form {
    prefill: Prefill,
    name: &'static str,
    /// Members of the message, as JSON.
    message: &'static [(&'static str, &'static str)],
    /// Members of the request, as JSON.
    request: &'static [(&'static str, &'static str)],
    repeats: Repeats,
}

static FORMS: [Form; 5] = [
    Form {
        prefill: Prefill::None,
        name: "none",
        message: &[],
        request: &[],
        repeats: Repeats::Nothing,
    },
    Form {
        prefill: Prefill::Assistant,
        name: "assistant",
        message: &[],
        request: &[],
        repeats: Repeats::Words,
    },
    Form {
        prefill: Prefill::Vllm,
        name: "vllm",
        message: &[],
        request: &[
            ("continue_final_message", "true"),
            ("add_generation_prompt", "false"),
        ],
        repeats: Repeats::Nothing,
    },
    Form {
        prefill: Prefill::Mistral,
        name: "mistral",
        message: &[("prefix", "true")],
        request: &[],
        repeats: Repeats::All,
    },
    Form {
        prefill: Prefill::Deepseek,
        name: "deepseek",
        message: &[("prefix", "true")],
        request: &[],
        repeats: Repeats::Nothing,
    },
];

impl Prefill {
    /// Every name, in the order in which they are documented.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMS.iter().map(|form| form.name)
    }

    /// The form with this name.
    pub fn parse(name: &str) -> Option<Self> {
        let form = FORMS.iter().find(|form| form.name == name)?;
        Some(form.prefill)
    }

    /// Whether the upstream can continue a message.
    pub fn is_possible(self) -> bool {
        self != Self::None
    }

    /// What of the text the upstream may say again.
    pub fn repeats(self) -> Repeats {
        self.form().map_or(Repeats::Nothing, |form| form.repeats)
    }

    /// What the message gets besides its text: members and their JSON.
    pub(super) fn message(self) -> &'static [(&'static str, &'static str)] {
        self.form().map_or(&[], |form| form.message)
    }

    /// What the request gets.
    pub(super) fn request(self) -> &'static [(&'static str, &'static str)] {
        self.form().map_or(&[], |form| form.request)
    }

    fn form(self) -> Option<&'static Form> {
        FORMS.iter().find(|form| form.prefill == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_one_name_and_none_continues_nothing() {
        for name in Prefill::names() {
            let prefill = Prefill::parse(name).unwrap();
            assert_eq!(prefill.form().map(|form| form.name), Some(name));
            assert_eq!(prefill.is_possible(), name != "none");
        }
        assert_eq!(Prefill::names().count(), FORMS.len());
        assert_eq!(Prefill::parse("openai"), None);
    }
}
