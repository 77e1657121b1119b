//! Words that make no difference to what is asked.
//!
//! Owns what a request can do without, phrases and synonyms. Does not look words up in them (see `tables`). Never
//! fails. A wrong row here makes wrong hits, a missing one costs hits alone.

use super::Rows;

/// Words that say little, by language: a request can do without them.
pub(super) static FUNCTION_WORDS: Rows = &[
    (
        "en",
        "a an the i me my mine myself you your we us our it its this that these those there here is are \
         be been being am do does doing done have has can could would shall may might what which how to \
         of in on at by for with about as and or if then so s re ve ll d m t please explain way ways step \
         steps procedure possible also calculate compute actually really exactly does mean meaning",
    ),
    (
        "de",
        "der die das den dem des ein eine einen einem einer eines ich du er sie es wir ihr mir mich mein \
         meine meinen meinem meiner euch uns ist sind sein hat haben habe wird werden kann kannst können \
         man was wie welche welcher welches welchen welchem zu um von mit für auf im in am an bei und \
         oder dass bitte möglich weg gibt geht",
    ),
    (
        "fr",
        "le la les l un une des du de d je j tu il elle on nous vous me m te t se s mon ma mes ton votre \
         vos notre ce c cet cette ces est sont être ai a ont avoir peux peut puis puis-je pouvez que qu \
         quoi quel quelle quels quelles comment et ou en dans sur à au aux pour par avec y façon manière \
         possible moyen ne il-y",
    ),
    (
        "es",
        "el la los las lo un una unos unas de del yo tú él ella me mi mis te tu tus se su sus nos es son \
         era ser está están estoy he ha han hay puedo puede puedes podría que qué cuál cuáles cómo cómo y \
         o en a al por para con manera forma es posible le",
    ),
    (
        "ru",
        "я ты он она мы вы мне меня мой моя моё мои мою это этот эта как какой какая какое какие каким \
         что чтобы в на по с к о и или для из у от за можно является являются есть быть мочь могу ли это \
         же",
    ),
    (
        "it",
        "il lo la gli le un uno una di del della dei che come cosa quale quali è sono posso può per con \
         mi mio mia si e o al alla nel",
    ),
    (
        "pt",
        "o os as um uma do da dos das que como qual quais é são posso pode para com me meu minha se e ou \
         no na em",
    ),
    (
        "nl",
        "de het een ik je mijn is zijn kan hoe wat welke te van met voor op in en of",
    ),
];

/// Parts of Han and Kana that say little. Longer ones first where one begins another.
pub(in super::super) static FUNCTION_PARTS: &str = "要如何 要怎么 应该如何 应该怎么 该如何 该怎么 可以如何 能如何 怎么才能 如何才能 多久能 \
     多久可以 几天能 在哪里可以 哪里可以 请告诉我 请问 请解释一下 请解释 告诉我 解释一下 \
     解释 应该怎么操作 需要多长时间 多长时间 多少时间 多久 怎么样 怎么办 怎么操作 怎么 怎样 \
     如何 什么样 什么 哪一个 哪个 哪些 想要 我想 我要 一般 通常 一下 一个 一些 一种 \
     方式 方法 步骤 操作 教えて 的 了 吗 呢 吧 啊 我 你 您 他 是 在 里 中 上 把 \
     将 被 与 和 及 或 也 都 就 来 去 个 得 地 着 为 以 请 想 教 何";

/// Words that ask for a way to do something. What a thing is, and how one gets it, are asked in the same words
/// otherwise.
pub(super) static HOW_WORDS: &str = "how way ways step steps procedure process method wie weg tun machen comment faire \
     façon manière moyen cómo hacer hago hace manera forma как сделать come modo como hoe";

/// The same within Han and Kana.
pub(in super::super) static HOW_PARTS: &str =
    "怎么 怎样 如何 方法 步骤 操作 方式 どうすれば どうやって 教えて";

/// Parts of Han that are one to a question: the first, and what stands for it.
pub(in super::super) static SAME_PARTS: &[(&str, &str)] = &[
    ("所有", "全部 一切"),
    ("修改", "更改 变更 更换"),
    ("看", "查看 看到 查询"),
    ("所在", "所处"),
    ("钱", "费用 价格 价钱"),
];

/// Several words that are one, and what it is called.
pub(super) static PHRASES: &[(&str, &str)] = &[
    ("turn on", "enable"),
    ("switch on", "enable"),
    ("turn off", "disable"),
    ("switch off", "disable"),
    ("log in", "login"),
    ("sign in", "login"),
    ("log on", "login"),
    ("log into", "login"),
    ("sign into", "login"),
    ("log out", "logout"),
    ("sign out", "logout"),
    ("get rid of", "remove"),
    ("set up", "setup"),
    ("how much", "price"),
    ("how long", "duration"),
    ("how many", "number"),
    ("how old", "age"),
    ("how far", "distance"),
    ("how fast", "speed"),
    ("how often", "frequency"),
    ("how big", "size"),
    ("how tall", "height"),
    ("i need to", "please"),
    ("i want to", "please"),
    ("i would like to", "please"),
    ("tell me", "please"),
    ("show me", "please"),
    ("give me", "please"),
    ("let me know", "please"),
    ("best way", "way"),
    ("good way", "way"),
    ("good ways", "way"),
    ("process of", "how"),
    ("how does that work", "how"),
    ("how does it work", "how"),
    ("have to", "must"),
    ("has to", "must"),
    ("is it possible to", "can"),
    ("i do to", "how"),
    ("i have to do", "how"),
    ("i need to do", "how"),
    ("muss ich tun um", "wie"),
    ("muss ich machen um", "wie"),
    ("kannst du mir", "bitte"),
    ("je voudrais", "je"),
    ("je veux", "je"),
    ("dois je faire pour", "comment"),
    ("faut il faire pour", "comment"),
    ("comment faire", "comment"),
    ("quiero", "puedo"),
    ("tengo que hacer para", "cómo"),
    ("debo hacer para", "cómo"),
    ("cómo lo hago", "cómo"),
    ("я хочу", "я"),
    ("нужно сделать чтобы", "как"),
    ("как это сделать", "как"),
    ("have to do", "how"),
    ("need to do", "how"),
    ("must i do", "how"),
    ("do i do", "how"),
    // Told from the words of a polite request.
    ("am i", "am i"),
    ("are you", "are you"),
    ("in which year", "when"),
    ("what year", "when"),
    ("what time", "when"),
    ("which city", "what"),
    ("what is the reason", "why"),
    ("customer service", "support"),
    ("customer support", "support"),
    ("money back", "refund"),
    ("quelle raison", "pourquoi"),
    ("welche stadt", "was"),
    ("quelle ville", "quelle"),
    ("qué ciudad", "qué"),
    ("какой город", "какой"),
    ("wie lange", "dauer"),
    ("wie viel", "preis"),
    ("combien de temps", "durée"),
    ("cuánto tarda", "plazo"),
    ("сколько времени", "срок"),
];

/// Words that are one to a question.
pub(super) static SYNONYMS: Rows = &[
    ("enable", "enable activate"),
    ("disable", "disable deactivate"),
    ("delete", "delete erase"),
    ("change", "change modify alter"),
    ("price", "price cost costs pricing"),
    ("contact", "contact reach"),
    ("near", "nearest closest"),
    ("build", "built constructed build construct"),
    ("deliver", "delivery shipping deliver ship shipment"),
    ("author", "wrote author written"),
    ("directory", "directory folder"),
    ("show", "list lists"),
    ("int", "int integer"),
    ("who", "who whom"),
    ("difference", "difference differences differ differs"),
    ("summary", "summary summarise summarize"),
    ("revert", "undo revert"),
    ("recent", "last latest recent"),
];
