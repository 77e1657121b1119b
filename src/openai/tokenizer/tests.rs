//! The counts are those of `bpe-openai`, which says itself that they are those of OpenAI's `tiktoken`.

use super::*;

/// One that all tests share.
pub fn tokenizer() -> &'static Tokenizer {
    static LOADED: std::sync::LazyLock<Tokenizer> =
        std::sync::LazyLock::new(|| Tokenizer::load().unwrap());
    &LOADED
}

#[track_caller]
fn assert_same(text: &str) {
    let reference = bpe_openai::o200k_base();
    let mut pieces = Vec::new();
    tokenizer().splitter.split(text, |piece| pieces.push(piece));
    let wanted: Vec<&str> = reference.split(text).collect();
    assert_eq!(pieces, wanted, "{text:?}");
    let counted = tokenizer().count(text);
    assert_eq!(counted, reference.count(text), "{text:?}");
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "\n",
    "a",
    "hello world, hello world",
    "It's what they've said, we'll see; I'd DON'T 'Tis o'clock \u{17f}'\u{17f} it'\u{17f}",
    "fn main() {\n    println!(\"{}\", 1_000_000);\n}\n\n\n\t\tif x {  \n  }  ",
    "  leading, trailing and   inner   space   ",
    " \n \n\n x \r\n\r\n  y\u{a0}\u{a0}z\u{3000}\u{3000}\u{2028}w \t",
    "1 12 123 1234 12345 3.14159 ½ ⅷ ١٢٣٤",
    "CamelCase HTTPServer snake_case SCREAMING_SNAKE kebab-case iPhone ǅungla",
    "https://example.com/a/b?c=d&e=%20#f //// \\\\ \\n /path/to/file.rs\n",
    "Füße, Ärger, naïve, São Paulo, Łódź, e\u{301}te\u{301}, \u{301}\u{301}",
    "你好，世界。今天天气很好，我们去公园散步吧。",
    "日本語のテキスト、カタカナ、ひらがな。한국어 문장입니다.",
    "Привет, как дела? שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
    "👍👩‍👩‍👧‍👦🇩🇪 ✨\u{fe0f} \u{200b}\u{feff}",
    "\0\u{1}\u{7f}\u{80}\u{fffd}",
    "<|endoftext|> <|im_start|>user",
    "$100 & 50% (a+b)*c = ∑∫√ → ≤ ¬",
];

#[test]
fn texts_of_many_kinds_have_as_many_tokens_as_by_the_reference() {
    for text in TEXTS {
        assert_same(text);
        assert_same(&text.repeat(7));
    }
    assert_same(&TEXTS.concat());
    assert_same(&TEXTS.join("\n\n"));
    assert_same(include_str!("tests.rs"));
}

#[test]
fn long_runs_have_as_many_tokens_as_by_the_reference() {
    for unit in [
        "a", "A", " ", "\n", "\t", "\r\n", "=", "-", "1", "ab", "aab", "x ", " \n", "你", "你好",
        "é", "👍", "\u{301}",
    ] {
        for length in [2, 3, 60, 127, 128, 129, 257, 2000] {
            assert_same(&unit.repeat(length));
        }
    }
}

#[test]
fn random_texts_have_as_many_tokens_as_by_the_reference() {
    let mut random = fastrand::Rng::with_seed(11);
    let common: Vec<char> = "etaoin shrdlu,.'\n\r\t ETA019/_-\"你好é\u{301}ſ👍\u{a0}"
        .chars()
        .collect();
    for _ in 0..3000 {
        let length = random.usize(..60);
        let text: String = (0..length)
            .map(|_| match random.u8(..8) {
                0 => random.char(..),
                1 => random.char(..'\u{800}'),
                _ => common[random.usize(..common.len())],
            })
            .collect();
        assert_same(&text);
    }
}

#[test]
fn any_tokens_in_a_row_have_as_many_tokens_as_by_the_reference() {
    let reference = bpe_openai::o200k_base();
    let mut random = fastrand::Rng::with_seed(12);
    let last = u32::try_from(reference.bpe.num_tokens()).unwrap();
    for _ in 0..1500 {
        let count = random.usize(1..12);
        let tokens: Vec<u32> = (0..count).map(|_| random.u32(..last)).collect();
        let bytes = reference.bpe.decode_tokens(&tokens);
        assert_same(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn each_token_is_one() {
    let reference = bpe_openai::o200k_base();
    let vocabulary = &tokenizer().vocabulary;
    for rank in 0..u32::try_from(reference.bpe.num_tokens()).unwrap() {
        assert_eq!(vocabulary.rank(reference.bpe.token_bytes(rank)), Some(rank));
    }
    assert_eq!(vocabulary.rank(b""), None);
    assert_eq!(vocabulary.rank(&[b' '; 129]), None);
}

#[test]
fn the_table_is_small_in_the_binary() {
    assert!(TABLE.len() < 1 << 20, "{}", TABLE.len());
}

#[test]
fn a_damaged_table_is_an_error() {
    assert!(Vocabulary::unpack(b"").is_err());
    assert!(Vocabulary::unpack(TABLE.get(..TABLE.len() / 2).unwrap()).is_err());
    let packed = |table: &[u8]| zstd::bulk::compress(table, 1).unwrap();
    for table in [
        &b""[..],
        b"\x01\0\0",
        b"\0\0\0\0",
        b"\x02\0\0\0\x01\x01a",
        b"\x02\0\0\0\x01\x01abc",
        b"\xff\xff\xff\xff\x01a",
    ] {
        assert!(Vocabulary::unpack(&packed(table)).is_err(), "{table:?}");
    }
    let small = Vocabulary::unpack(&packed(b"\x02\0\0\0\x01\x02aab")).unwrap();
    assert_eq!((small.rank(b"a"), small.rank(b"ab")), (Some(0), Some(1)));
    let bomb = packed(&vec![0; 64 << 20]);
    assert!(Vocabulary::unpack(&bomb).is_err());
}
