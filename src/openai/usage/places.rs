//! Where in an answer its usage is told.
//!
//! Owns which objects we look into, which of their members are kept, and which of several counts.
//! Refuses to know how JSON is scanned, and what the members of a usage mean. Never fails: what is
//! in no place known here is not there.

use super::counts::{Counts, Fields};

/// A key of more bytes than this is none that we look for.
pub(super) const MAX_KEY_BYTES: usize = "service_tier".len();

/// An object or array of an answer that we look into, or where we are outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gauge {
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
    /// Behind the end of the answer, or it is no object.
    Behind,
}

/// What a member that is wanted tells.
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

/// What is done about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// Its value is kept.
    Keep(Name),
    /// We look into it.
    Enter(Gauge),
}

impl Gauge {
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

    /// Where we are when it closes.
    pub(super) fn outer(self) -> Self {
        match self {
            Self::Start | Self::Answer | Self::Behind => Self::Behind,
            Self::Response | Self::Message | Self::Choices => Self::Answer,
            Self::Choice => Self::Choices,
        }
    }

    /// What is done about the member with this key, as it is written.
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

    /// The room that this bracket opens, directly within it and after this key.
    pub(super) fn opens(self, key: &[u8], bracket: u8) -> Option<Self> {
        match (self, self.member(key), bracket) {
            (Self::Choices, _, b'{') => Some(Self::Choice),
            (_, Some(Member::Enter(Self::Choices)), b'[') => Some(Self::Choices),
            (_, Some(Member::Enter(room)), b'{') if room != Self::Choices => Some(room),
            _ => None,
        }
    }
}

/// The values that were found in one answer: each name of each room at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found(pub(super) Vec<(Gauge, Name, Vec<u8>)>);

impl Found {
    /// Forgets what an earlier member with the same key told: the last one counts.
    pub(super) fn forget(&mut self, room: Gauge, member: Member) {
        self.0.retain(|(in_room, name, _)| match member {
            // Of the choices the last that tells it counts, so none undoes what another told.
            Member::Keep(_) if room == Gauge::Choice => true,
            Member::Keep(kept) => (*in_room, *name) != (room, kept),
            Member::Enter(entered) => *in_room != entered && in_room.outer() != entered,
        });
    }

    /// Keeps a value.
    pub(super) fn keep(&mut self, room: Gauge, name: Name, json: Vec<u8>) {
        if room == Gauge::Choice {
            if json.trim_ascii() == b"null" {
                return;
            }
            self.0.retain(|(in_room, _, _)| *in_room != room);
        }
        self.0.push((room, name, json));
    }

    /// Whether there is the beginning of one of Anthropic's messages, of which later events tell
    /// only what has changed.
    pub(super) fn begins_message(&self) -> bool {
        self.json(Gauge::Message, Name::Usage).is_some()
    }

    /// What was told, if anything can be read: in the first of the places that tells it. Only the
    /// searches of a reranking may stand beside its usage, and what was transcribed counts by its
    /// time only when nothing else tells its usage.
    pub(super) fn counts(&self) -> Option<Counts> {
        let usage_of = |room| Counts::read(&Fields::read(self.json(room, Name::Usage)?)?);
        let fields = |name| Fields::read(self.json(Gauge::Answer, name)?);
        let meta = fields(Name::Meta).and_then(|meta| Counts::read(&meta));
        let told = [Gauge::Answer, Gauge::Response, Gauge::Message]
            .into_iter()
            .find_map(usage_of)
            .or_else(|| Counts::read(&Fields::of(fields(Name::Groq)?.usage)?))
            .or_else(|| usage_of(Gauge::Choice));
        let mut counts = match (told, meta) {
            (Some(told), Some(meta)) => told.with_searches_of(&meta),
            (Some(told), None) | (None, Some(told)) => told,
            (None, None) => Counts::of_audio(self.json(Gauge::Answer, Name::Duration)?)?,
        };
        for room in [Gauge::Answer, Gauge::Response] {
            let tier = self.json(room, Name::Tier);
            counts.add_tier(tier.and_then(|json| serde_json::from_str(json).ok()));
        }
        Some(counts)
    }

    /// The value of a member, unless it is not UTF-8.
    fn json(&self, room: Gauge, name: Name) -> Option<&str> {
        let mut found = self.0.iter();
        let (_, _, json) = found.find(|(of, is, _)| (*of, *is) == (room, name))?;
        str::from_utf8(json.trim_ascii()).ok()
    }
}
