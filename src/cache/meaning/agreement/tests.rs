//! Texts that agree, and texts that do not, with the reason.

use super::Disagreement::{
    Direction, Language, Names, Negation, Numbers, Opposite, Quotes, Symbols, Wording,
};
use super::*;
use crate::cache::meaning::calibrate::read_pairs;

#[track_caller]
fn check(pairs: &[(&str, &str)], expected: Result<(), Disagreement>) {
    for (a, b) in pairs {
        let (one, other) = (Reading::of(a), Reading::of(b));
        assert_eq!(
            one.compare(&other),
            expected,
            "{a} | {b}: {one:?} {other:?}"
        );
        assert_eq!(other.compare(&one).is_ok(), expected.is_ok(), "{b} | {a}");
    }
}

#[test]
fn operators_options_and_pictures_are_the_same_in_the_same_places() {
    check(
        &[
            ("What is x in 3x+4=10?", "What is x in 3x-4=10?"),
            ("Tell me a joke 😀", "Tell me a joke 😡"),
            ("C vs C++", "C++ vs C"),
            ("What does i++ do?", "What does ++i do?"),
            ("Explain a & b", "Explain a && b"),
            ("What is !true?", "What is true?"),
            ("What is ¬a?", "What is a?"),
            ("What means → here?", "What means ← here?"),
            ("如何计算a+b？", "如何计算a*b？"),
        ],
        Err(Symbols),
    );
    check(&[("ls -l explained", "ls -L explained")], Err(Symbols));
    check(
        &[
            ("What does (i++) do?", "What does i++ do"),
            ("Is C++ fast?", "Is C++ fast, please?"),
            ("A state-of-the-art phone?", "A state-of-the-art phone"),
            ("Is it open - or not?", "Is it open, or not?"),
        ],
        Ok(()),
    );
}

#[test]
fn letters_persons_and_joining_words_make_a_difference() {
    check(
        &[
            ("Is vitamin A safe?", "Is vitamin D safe?"),
            ("is vitamin a safe", "is vitamin d safe"),
            ("Do you have it in size S?", "Do you have it in size M?"),
            ("What is a class A fire?", "What is a class D fire?"),
            (
                "how many letters s in mississippi",
                "how many letters i in mississippi",
            ),
            ("x = 1; print(x)", "x = 1; print(y)"),
            ("drive d", "drive s"),
            ("维生素A有什么用", "维生素D有什么用"),
            ("do i owe you money", "do you owe me money"),
            ("how do i send you the file", "how do you send me the file"),
            (
                "find users with role admin or active",
                "find users with role admin and active",
            ),
            ("translate: i am here", "translate: you are here"),
            ("translate: I am here", "translate: I am there"),
        ],
        Err(Disagreement::Small),
    );
    check(&[("foo(){}", "foo()[]")], Err(Symbols));
    check(
        &[
            ("How do I reset a password?", "How can I reset a password?"),
            ("What's a password?", "What is a password?"),
            ("A dog bites?", "a dog bites"),
            (
                "How do I reset my password?",
                "How do you reset a password?",
            ),
            ("Qu'est-ce que c'est ?", "Qu'est-ce que c'est"),
            ("Y a-t-il du gluten ?", "y a-t-il du gluten"),
        ],
        Ok(()),
    );
}

#[test]
fn numbers_agree_however_they_are_written() {
    check(
        &[
            ("Is 5 enough?", "Is five enough?"),
            ("Is 1,000 enough?", "Is 1000 enough?"),
            ("Is 1,234,567.5 enough?", "Is 1234567.5 enough?"),
            ("Sind 3,5 genug?", "Sind 3.5 genug?"),
            ("Is 15% enough?", "Is 15 percent enough?"),
            ("Are 5km enough?", "Are 5 kilometres enough?"),
            ("Is $5 enough?", "Is $5 enough, please?"),
            ("是否满100元?", "是否满１００元?"),
            ("三天内发货吗?", "3天内发货吗?"),
            ("一百二十三天内发货吗?", "123天内发货吗?"),
            ("二〇二四年发生了什么?", "2024年发生了什么?"),
            ("一万五千人有多少?", "15000人有多少?"),
            ("Is it open on 3 May?", "Is it open on the 3 May?"),
            ("Is ٣ enough?", "Is 3 enough?"),
        ],
        Ok(()),
    );
}

#[test]
fn other_numbers_units_and_dates_do_not() {
    check(
        &[
            ("Who won in 2014?", "Who won in 2018?"),
            ("Is 5 enough?", "Is it enough?"),
            ("Is 5 enough?", "Is 5 5 enough?"),
            ("What is 20 of 50?", "What is 50 of 20?"),
            ("Is -5 enough?", "Is 5 enough?"),
            ("Is version 2.1 supported?", "Is version 2.10 supported?"),
            ("Is 1.000 enough?", "Is 1000 enough?"),
            ("Is 007 known?", "Is 7 known?"),
            ("Are 5 km enough?", "Are 5 miles enough?"),
            ("Is 15% enough?", "Is 15 enough?"),
            ("Is $5 enough?", "Is €5 enough?"),
            ("Is it open on March 3?", "Is it open on May 3?"),
            ("Is it open on 2024-03-05?", "Is it open on 2024-03-06?"),
            ("Is it open on Monday?", "Is it open on Tuesday?"),
            ("What is the first law?", "What is the second law?"),
            ("满100元包邮吗?", "满200元包邮吗?"),
            ("三天内可以退款吗?", "七天内可以退款吗?"),
            ("星期一营业吗?", "星期二营业吗?"),
            (
                "Сколько стоит билет на 5 мая?",
                "Сколько стоит билет на 5 июня?",
            ),
        ],
        Err(Numbers),
    );
}

#[test]
fn a_month_that_is_a_verb_is_no_date() {
    let question = Reading::of("may I march to the shop?");
    assert_eq!(question.figures, [""; 0]);
    assert_eq!(Reading::of("open on 5 may?").figures, ["5", "month 5"]);
}

#[test]
fn what_stands_in_quotes_must_be_the_same_in_any_marks() {
    check(
        &[
            ("Translate \"good day\".", "Translate “good day”."),
            ("Was heißt „gut“?", "Was heißt »gut«?"),
            ("Translate 'good day'.", "Translate `good day`."),
            ("谁写了「红楼梦」?", "谁写了《红楼梦》?"),
        ],
        Ok(()),
    );
    check(
        &[
            ("Translate \"good day\".", "Translate \"good night\"."),
            ("Translate 'good day'.", "Translate 'good night'."),
            ("Was heißt „gut“?", "Was heißt „schlecht“?"),
            ("Que veut dire « bon » ?", "Que veut dire « mauvais » ?"),
            ("谁写了《红楼梦》?", "谁写了《西游记》?"),
            ("「はい」の意味は?", "「いいえ」の意味は?"),
        ],
        Err(Quotes),
    );
    assert_eq!(quotes::quoted("it's the dogs' 5\" screen"), [""; 0]);
}

#[test]
fn negations_must_agree_in_number_and_kind() {
    check(
        &[
            ("Is it safe?", "Isn't it safe?"),
            ("Can dogs eat it?", "Can\u{2019}t dogs eat it?"),
            ("Is it safe?", "Is it never safe?"),
            ("Can I pay with a card?", "Can I pay without a card?"),
            ("Show all.", "Show all except mine."),
            ("Who may enter?", "Who only may enter?"),
            ("Darf ich parken?", "Darf ich nicht parken?"),
            ("Kann ich mit Karte zahlen?", "Kann ich ohne Karte zahlen?"),
            (
                "Puis-je payer avec une carte ?",
                "Puis-je payer sans carte ?",
            ),
            ("Il mange du gluten ?", "Il ne mange pas de gluten ?"),
            ("¿Contiene lactosa?", "¿No contiene lactosa?"),
            ("Можно платить картой?", "Нельзя платить картой?"),
            ("可以退款吗?", "不可以退款吗?"),
            ("有积分吗?", "没有积分吗?"),
            ("犬が食べられる野菜は?", "犬が食べられない野菜は?"),
            ("개가 먹을 수 있나요?", "개가 먹을 수 없나요?"),
        ],
        Err(Negation),
    );
    check(
        &[
            ("Why can't I log in?", "Why can not I login?"),
            ("Je ne peux pas payer ?", "Je peux pas payer ?"),
            ("能不能退款?", "能退款吗?"),
        ],
        Ok(()),
    );
}

#[test]
fn names_identifiers_and_addresses_must_be_the_same_in_one_order() {
    check(
        &[
            (
                "What is the capital of France?",
                "What is the capital of Spain?",
            ),
            (
                "Is Paris larger than London?",
                "Is London larger than Paris?",
            ),
            ("What does read_csv do?", "What does read_json do?"),
            ("Is UTF8 supported?", "Is UTF16 supported?"),
            ("Write to a@example.com?", "Write to b@example.com?"),
            (
                "What is on https://example.com/a?",
                "What is on https://example.com/b?",
            ),
            ("What is NASA?", "What is ESA?"),
            ("How do I open a jar?", "How do I open a JAR?"),
            ("Was ist mit dem Auto?", "Was ist mit dem Haus?"),
        ],
        Err(Names),
    );
    check(
        &[
            (
                "What is the capital of France?",
                "what is the capital of france",
            ),
            (
                "France: what is the capital?",
                "What is the capital of France?",
            ),
            (
                "WHAT IS THE CAPITAL OF FRANCE?",
                "What is the capital of France?",
            ),
            ("What did I'll mean?", "What did I mean?"),
        ],
        Ok(()),
    );
}

#[test]
fn opposites_and_directions_must_agree() {
    check(
        &[
            (
                "How do I increase the size of a disk volume?",
                "Which settings decrease disk usage of logs?",
            ),
            ("What is my name?", "What is your name?"),
            ("What was it like last year?", "What is it like next year?"),
            ("How do I turn on alerts?", "How do I turn off alerts?"),
            (
                "What do I do before surgery?",
                "What do I do after surgery?",
            ),
            ("How do I log in?", "How do I log out?"),
            ("怎么开启通知?", "怎么关闭通知?"),
            ("怎么上传文件?", "怎么下载文件?"),
            ("通知をオンにするには?", "通知をオフにするには?"),
        ],
        Err(Opposite),
    );
    check(
        &[
            ("convert strings to integers", "convert integers to strings"),
            (
                "is the train to munich late?",
                "is the train from munich late?",
            ),
            (
                "How do I disable the firewall for a port?",
                "How do I disable a port in the firewall?",
            ),
            ("¿Quién llamó a Juan?", "¿A quién llamó Juan?"),
            ("flights from boston to york", "flights from york to boston"),
            ("从北京到上海怎么走?", "从上海到北京怎么走?"),
            ("Do dogs chase cats?", "Do cats chase dogs?"),
            ("狗会追猫吗?", "猫会追狗吗?"),
            (
                "Who reports to the director?",
                "Who does the director report to?",
            ),
        ],
        Err(Direction),
    );
}

#[test]
fn texts_that_differ_in_few_words_ask_two_things() {
    check(
        &[
            ("How do I cancel my order?", "How do I track my order?"),
            ("capital of france", "capital of germany"),
            (
                "What are the effects of aspirin?",
                "What are the effects of aspirin on children?",
            ),
            (
                "When was Albert Einstein born?",
                "Where was Albert Einstein born?",
            ),
            ("法国的首都是哪里?", "德国的首都是哪里?"),
            ("孩子发烧怎么办?", "孩子咳嗽怎么办?"),
            ("What is rust?", "How do I bake bread?"),
            ("What is a mortgage?", "How do I get a mortgage?"),
            ("Can I invest in bonds?", "Should I invest in bonds?"),
            ("Do I need a visa?", "Can I get a visa?"),
            ("我需要签证吗?", "我可以签证吗?"),
            ("Who is the president?", "Who was the president?"),
            ("Who are you?", "Who am I?"),
            ("How are you?", "What can you do?"),
            ("什么是房贷?", "怎么申请房贷?"),
        ],
        Err(Wording),
    );
    check(
        &[
            (
                "How do I reset my password?",
                "What are the steps to reset my password, please?",
            ),
            (
                "How do I export my data?",
                "What is the way of exporting data?",
            ),
            ("怎么申请退款?", "退款要如何申请?"),
            (
                "I forgot my password, how do I get in again?",
                "How can I regain access after forgetting my password?",
            ),
        ],
        Ok(()),
    );
}

#[test]
fn an_answer_is_in_the_language_of_its_question() {
    check(
        &[
            ("How do I reset my password?", "如何重置我的密码?"),
            (
                "What is machine learning?",
                "Was ist das: machine learning?",
            ),
            ("日本の首都は?", "日本首都?"),
            ("Как сбросить пароль?", "How do I reset it?"),
        ],
        Err(Language),
    );
}

#[test]
fn every_text_agrees_with_itself_and_none_panics() {
    let pairs = read_pairs(&include_bytes!("../../../../tests/data/question_pairs.jsonl")[..]);
    let pieces = [
        "not",
        "'",
        "n't",
        "\"",
        "「",
        "5",
        ",",
        ".",
        "-",
        "1.000,5",
        "百",
        "万",
        "亿",
        "不",
        "到",
        "to",
        " ",
        "\n",
        "é",
        "e\u{301}",
        "A",
        "İ",
        "ß",
        "％",
        "$",
        "@",
        "://",
        "www.",
        "_",
        "من",
        "ですか",
        "ー",
        "😀",
        "\u{0}",
    ];
    let mut random = fastrand::Rng::with_seed(3);
    let made = (0..2000).map(|_| {
        let length = random.usize(..12);
        (0..length)
            .map(|_| pieces[random.usize(..pieces.len())])
            .collect::<String>()
    });
    let texts = pairs.unwrap().into_iter().flat_map(|pair| [pair.a, pair.b]);
    let mut before = String::new();
    for text in made.chain(texts) {
        assert!(agree(&text, &text), "{text:?}");
        assert_eq!(
            agree(&text, &before),
            agree(&before, &text),
            "{text:?} {before:?}"
        );
        before = text;
    }
}

#[test]
fn of_the_labelled_pairs_few_that_differ_agree() {
    let pairs = read_pairs(&include_bytes!("../../../../tests/data/question_pairs.jsonl")[..]);
    let pairs = pairs.unwrap();
    let share = |same: bool| {
        let all = pairs.iter().filter(|pair| pair.same == same);
        let agreeing = all.clone().filter(|pair| agree(&pair.a, &pair.b));
        agreeing.count() as f64 / all.count() as f64
    };
    // The rest of them is for the threshold.
    assert!(share(false) < 0.03, "{}", share(false));
    assert!(share(true) > 0.4, "{}", share(true));
}
