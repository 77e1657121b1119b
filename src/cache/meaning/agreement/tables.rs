//! What words mean to the comparison, as data.
//!
//! Owns the tables and looking words up in them. A row has what its words stand for, and the words, with
//! spaces between them. Does not handle how they are compared (see `agreement`). Never fails. A word that is in
//! no table is compared as it is, so a language without rows has fewer hits, not wrong ones.

use std::collections::HashMap;
use std::sync::LazyLock;

type Rows = &'static [(&'static str, &'static str)];

/// Words by what they stand for.
type Index = LazyLock<HashMap<&'static str, &'static str>>;

fn index(rows: Rows) -> HashMap<&'static str, &'static str> {
    let words = |(name, words): &(&'static str, &'static str)| {
        let name = *name;
        words.split(' ').map(move |word| (word, name))
    };
    rows.iter().flat_map(words).collect()
}

/// Number words. Articles that are the number one as well are none of them.
static FIGURES: Rows = &[
    ("0", "zero null zéro cero ноль"),
    ("1", "one eins"),
    ("2", "two zwei deux dos два две twee"),
    ("3", "three drei trois tres три tre três drie"),
    ("4", "four vier quatre cuatro четыре quattro quatro"),
    ("5", "five fünf cinq cinco пять cinque vijf"),
    ("6", "six sechs seis шесть zes"),
    ("7", "seven sieben sept siete семь sette sete zeven"),
    ("8", "eight acht huit ocho восемь otto oito"),
    ("9", "nine neun neuf nueve девять nove negen"),
    ("10", "ten zehn dix diez десять dieci dez tien"),
    ("11", "eleven elf onze одиннадцать"),
    ("12", "twelve zwölf douze doce двенадцать dozen dutzend"),
    ("13", "thirteen dreizehn treize trece"),
    ("14", "fourteen vierzehn quatorze catorce"),
    ("15", "fifteen fünfzehn quinze quince"),
    ("16", "sixteen sechzehn seize dieciséis"),
    ("17", "seventeen siebzehn diecisiete"),
    ("18", "eighteen achtzehn dieciocho"),
    ("19", "nineteen neunzehn diecinueve"),
    ("20", "twenty zwanzig vingt veinte двадцать"),
    ("30", "thirty dreißig trente treinta тридцать"),
    ("40", "forty vierzig quarante cuarenta сорок"),
    ("50", "fifty fünfzig cinquante cincuenta пятьдесят"),
    ("60", "sixty sechzig soixante sesenta"),
    ("70", "seventy siebzig septante setenta"),
    ("80", "eighty achtzig huitante ochenta"),
    ("90", "ninety neunzig nonante noventa"),
    ("100", "hundred hundert cent cien сто"),
    ("1000", "thousand tausend mille mil тысяча тысяч k"),
    (
        "1000000",
        "million millions millionen millón millones миллион",
    ),
    (
        "1000000000",
        "billion billions milliarde milliarden milliard mil",
    ),
    ("half", "half halb halbe halbes moitié mitad половина"),
    ("double", "double twice doppelt zweimal doble вдвое"),
    ("triple", "triple thrice dreifach"),
    ("quarter", "quarter viertel quart cuarto"),
    (
        "1st",
        "first erste erster erstes ersten premier première primer primero primera первый первая первое",
    ),
    (
        "2nd",
        "second zweite zweiter zweites deuxième segundo segunda второй вторая второе",
    ),
    (
        "3rd",
        "third dritte dritter drittes troisième tercero tercera третий третья третье",
    ),
    (
        "4th",
        "fourth vierte vierter quatrième cuarto четвёртый четвертый",
    ),
    ("5th", "fifth fünfte fünfter cinquième quinto пятый"),
    (
        "day 1",
        "monday mondays montag montags lundi lunes понедельник понедельника lunedì segunda-feira",
    ),
    (
        "day 2",
        "tuesday tuesdays dienstag dienstags mardi martes вторник вторника martedì",
    ),
    (
        "day 3",
        "wednesday wednesdays mittwoch mittwochs mercredi miércoles среда среду mercoledì",
    ),
    (
        "day 4",
        "thursday thursdays donnerstag donnerstags jeudi jueves четверг четверга giovedì",
    ),
    (
        "day 5",
        "friday fridays freitag freitags vendredi viernes пятница пятницу venerdì",
    ),
    (
        "day 6",
        "saturday saturdays samstag samstags sonnabend samedi sábado суббота субботу sabato",
    ),
    (
        "day 7",
        "sunday sundays sonntag sonntags dimanche domingo воскресенье domenica",
    ),
    ("today", "today heute aujourd hoy сегодня oggi hoje"),
    (
        "tomorrow",
        "tomorrow morgen demain mañana завтра domani amanhã",
    ),
    ("yesterday", "yesterday gestern ayer вчера ieri ontem"),
];

/// Months. Some of them are other words, too.
static MONTHS: Rows = &[
    ("month 1", "january jan januar janvier enero января январь"),
    (
        "month 2",
        "february feb februar février febrero февраля февраль",
    ),
    ("month 3", "march mar märz mars marzo марта март"),
    ("month 4", "april apr avril abril апреля апрель"),
    ("month 5", "may mai mayo мая май"),
    ("month 6", "june jun juni juin junio июня июнь"),
    ("month 7", "july jul juli juillet julio июля июль"),
    ("month 8", "august aug août agosto августа август"),
    (
        "month 9",
        "september sep sept septembre septiembre сентября сентябрь",
    ),
    (
        "month 10",
        "october oct oktober octobre octubre октября октябрь",
    ),
    ("month 11", "november nov novembre noviembre ноября ноябрь"),
    (
        "month 12",
        "december dec dezember décembre diciembre декабря декабрь",
    ),
];

/// Units and currencies that stand beside a number, the one name of each first.
static UNITS: &[&[&str]] = &[
    &[
        "%",
        "percent",
        "prozent",
        "pourcent",
        "процент",
        "процентов",
        "процента",
    ],
    &["usd", "$", "dollar", "dollars", "bucks"],
    &["eur", "€", "euro", "euros", "евро"],
    &["gbp", "£", "pound-sterling"],
    &["cny", "¥", "yuan", "rmb"],
    &["rub", "₽", "рублей", "рубль", "рубля"],
    &["inr", "₹", "rupee", "rupees"],
    &[
        "mm",
        "millimeter",
        "millimeters",
        "millimetre",
        "millimetres",
    ],
    &[
        "cm",
        "centimeter",
        "centimeters",
        "centimetre",
        "centimetres",
        "zentimeter",
        "centímetros",
    ],
    &[
        "m", "meter", "meters", "metre", "metres", "mètre", "mètres", "metro", "metros",
    ],
    &[
        "km",
        "kilometer",
        "kilometers",
        "kilometre",
        "kilometres",
        "kilomètre",
        "kilomètres",
    ],
    &["mile", "miles", "mi", "meile", "meilen"],
    &["foot", "feet", "ft"],
    &["inch", "inches", "zoll"],
    &["mg", "milligram", "milligrams", "milligramm"],
    &["g", "gram", "grams", "gramm", "gramme", "grammes", "gramos"],
    &["kg", "kilo", "kilos", "kilogram", "kilograms", "kilogramm"],
    &["pound", "pounds", "lb", "lbs"],
    &["ounce", "ounces", "oz"],
    &[
        "ml",
        "milliliter",
        "milliliters",
        "millilitre",
        "millilitres",
    ],
    &["l", "liter", "liters", "litre", "litres", "litros"],
    &["ms", "millisecond", "milliseconds", "millisekunden"],
    &[
        "s", "sec", "secs", "seconds", "sekunde", "sekunden", "secondes", "segundos",
    ],
    &[
        "min",
        "mins",
        "minute",
        "minutes",
        "minuten",
        "minutos",
        "минут",
        "минуты",
    ],
    &[
        "h",
        "hr",
        "hrs",
        "hour",
        "hours",
        "stunde",
        "stunden",
        "heure",
        "heures",
        "hora",
        "horas",
        "часов",
        "часа",
    ],
    &[
        "day", "days", "tag", "tage", "tagen", "jour", "jours", "día", "días", "дней", "дня",
        "день",
    ],
    &[
        "week",
        "weeks",
        "woche",
        "wochen",
        "semaine",
        "semaines",
        "semana",
        "semanas",
        "недель",
        "недели",
    ],
    &[
        "month",
        "months",
        "monat",
        "monate",
        "monaten",
        "mois",
        "mes",
        "meses",
        "месяцев",
        "месяца",
    ],
    &[
        "year", "years", "jahr", "jahre", "jahren", "an", "ans", "année", "années", "año", "años",
        "лет", "года", "год",
    ],
    &["kb", "kilobyte", "kilobytes"],
    &["mb", "megabyte", "megabytes"],
    &["gb", "gigabyte", "gigabytes"],
    &["tb", "terabyte", "terabytes"],
    &["°", "degree", "degrees", "grad", "degrés", "grados"],
    &["<", "below", "under"],
    &[">", "above", "over"],
    &["=", "equals"],
];

/// Words that turn a statement around, by how they do.
static NEGATIONS: Rows = &[
    (
        "not",
        "not no never none nothing nobody nor neither cannot dont doesnt didnt isnt arent wasnt cant couldnt \
         shouldnt wouldnt wont nicht kein keine keinen keinem keiner nie niemals nichts nein weder pas jamais \
         rien aucun aucune non ni nunca nada nadie ninguno ninguna ningún jamás не нет ни нельзя никогда ничего \
         não nem nenhum nessun nessuno mai niente niet geen nooit nie nigdy değil لا ليس لم لن नहीं मत không",
    ),
    (
        "without",
        "without ohne sans sin без senza sem zonder bez بدون",
    ),
    (
        "except",
        "except excluding besides unless außer ausgenommen sauf excepté hormis salvo excepto кроме tranne exceto \
         behalve",
    ),
    (
        "only",
        "only just nur seulement uniquement solo sólo solamente только лишь soltanto somente alleen",
    ),
];

/// What turns a statement around within Han, Kana and Hangul.
pub(super) static NEGATING_PARTS: Rows = &[
    (
        "not",
        "不 没 沒 无 無 非 未 勿 莫 否 ない ません なく なし ず 않 없 못",
    ),
    ("without", "除了 除外 以外"),
    ("only", "只 仅 僅 だけ のみ 만"),
];

/// Words of opposite directions: one text has one of them, and the other its opposite.
pub(super) static OPPOSITES: &[(&str, &str)] = &[
    (
        "increase increases increasing raise grow more higher",
        "decrease decreases decreasing reduce lower shrink less fewer",
    ),
    ("before prior", "after following"),
    (
        "enable enabled activate activated on",
        "disable disabled deactivate deactivated off",
    ),
    (
        "minimum min least smallest lowest shortest fewest",
        "maximum max most largest highest longest biggest",
    ),
    ("first earliest oldest", "last latest newest"),
    (
        "start begin open opens opening",
        "stop end finish close closes closing",
    ),
    ("in", "out"),
    ("up", "down"),
    ("add include insert", "remove exclude delete subtract"),
    ("buy buying purchase", "sell selling sale"),
    ("import importing", "export exporting"),
    ("upload uploading", "download downloading"),
    ("install installing", "uninstall uninstalling"),
    ("lock locked", "unlock unlocked"),
    (
        "allow allowed permit",
        "forbid forbidden deny denied block blocked prohibit prohibited",
    ),
    ("always", "never"),
    ("all every", "none some any"),
    ("same equal similar", "different unequal"),
    (
        "advantage advantages benefit benefits pros",
        "disadvantage disadvantages risk risks cons drawback drawbacks",
    ),
    ("cheap cheapest cheaper", "expensive"),
    ("encrypt encode compress", "decrypt decode decompress"),
    ("send sending", "receive receiving"),
    ("win won", "lose lost"),
    ("male man men boy he", "female woman women girl she"),
    ("husband father son", "wife mother daughter"),
    ("north northern", "south southern"),
    ("east eastern", "west western"),
    ("left", "right"),
    ("born birth", "die died death"),
    ("true correct", "false wrong incorrect"),
    (
        "legal safe possible able",
        "illegal unsafe impossible unable dangerous",
    ),
    ("connect attach", "disconnect detach"),
    ("public", "private"),
    ("old older", "new newer young"),
    ("hot warm", "cold cool"),
    ("fast faster quick", "slow slower"),
    ("month monthly", "year yearly annual annually"),
    (
        "aktivieren aktiviere einschalten öffnen",
        "deaktivieren deaktiviere ausschalten schließen",
    ),
    (
        "vor mehr maximal hinzufügen kaufen",
        "nach weniger minimal entfernen verkaufen",
    ),
    (
        "activer avant plus ajouter acheter",
        "désactiver après moins supprimer vendre",
    ),
    (
        "activar antes más añadir comprar subir",
        "desactivar después menos eliminar vender bajar descargar",
    ),
    (
        "включить до больше добавить купить",
        "отключить выключить после меньше удалить продать",
    ),
];

/// Opposites within Han and Kana.
pub(super) static OPPOSITE_PARTS: &[(&str, &str)] = &[
    ("开启 打开 启用", "关闭 禁用 停用"),
    ("增加 提高 添加", "减少 降低 删除"),
    ("上传", "下载"),
    ("之前 以前", "之后 以后"),
    ("最大 最多 最高 最长", "最小 最少 最低 最短"),
    ("买", "卖"),
    ("导入", "导出"),
    ("优点 好处", "缺点 坏处 风险"),
    ("登录", "登出 退出"),
    ("安装", "卸载"),
    ("オン 有効", "オフ 無効"),
    ("入", "出"),
];

/// Words behind which it matters what follows: they say from where to where, or what is compared with what.
static DIRECTIONS: Rows = &[
    ("from", "from von aus depuis desde из от 从 自 から"),
    ("to", "to into nach zu vers à hasta hacia до 到 至 成 为"),
    ("than", "than als que чем 比"),
    ("before", "before vor avant antes перед"),
    ("after", "after nach après después после"),
];

/// Words that say little, by language: a request can do without them.
static FUNCTION_WORDS: Rows = &[
    (
        "en",
        "a an the i me my mine myself you your we us our it its this that these those there here is are was were \
         be been being am do does did doing done have has had having can could will would shall should may might \
         must what which how to of in on at by for with about as and or if then so s re ve ll d m t please tell \
         explain show give describe want need like wish know help let get got make way ways step steps procedure \
         process method possible want wants needs trying try work works also calculate compute actually really exactly some any \
         best just does mean meaning",
    ),
    (
        "de",
        "der die das den dem des ein eine einen einem einer eines ich du er sie es wir ihr mir mich mein meine \
         meinen meinem meiner euch uns ist sind war waren sein hat haben habe wird werden kann kannst können man \
         muss müssen soll was wie welche welcher welches welchen welchem zu um von mit für auf im in am an bei und \
         oder dass bitte möglich weg gibt tun mache machen geht möchte will",
    ),
    (
        "fr",
        "le la les l un une des du de d je j tu il elle on nous vous me m te t se s mon ma mes ton votre vos notre \
         ce c cet cette ces est sont était être ai a ont avoir peux peut puis puis-je pouvez dois doit faut faire \
         fais que qu quoi quel quelle quels quelles comment et ou en dans sur à au aux pour par avec y voudrais \
         veux façon manière possible moyen ne il-y",
    ),
    (
        "es",
        "el la los las lo un una unos unas de del yo tú él ella me mi mis te tu tus se su sus nos es son era ser \
         está están estoy he ha han hay puedo puede puedes podría debo tengo tener que qué cuál cuáles cómo cómo y \
         o en a al por para con hacer hago quiero manera forma es posible le",
    ),
    (
        "ru",
        "я ты он она мы вы мне меня мой моя моё мои мою это этот эта как какой какая какое какие каким что чтобы \
         в на по с к о и или для из у от за нужно надо можно сделать хочу является являются есть быть мочь могу \
         ли это же",
    ),
    (
        "it",
        "il lo la gli le un uno una di del della dei che come cosa quale quali è sono posso può per con mi mio mia \
         si e o al alla nel",
    ),
    (
        "pt",
        "o os as um uma do da dos das que como qual quais é são posso pode para com me meu minha se e ou no na em",
    ),
    (
        "nl",
        "de het een ik je mijn is zijn kan hoe wat welke te van met voor op in en of",
    ),
];

/// Parts of Han and Kana that say little. Longer ones first where one begins another.
pub(super) static FUNCTION_PARTS: &str = "请告诉我 请问 请解释一下 请解释 告诉我 解释一下 解释 应该怎么操作 需要多长时间 多长时间 \
     多少时间 多久 怎么样 怎么办 怎么操作 怎么 怎样 如何 什么样 什么 哪一个 哪个 哪些 应该 需要 可以 能够 \
     想要 我想 我要 一般 通常 一下 一个 一些 一种 方式 方法 步骤 操作 教えて 方法 的 了 吗 呢 吧 啊 我 你 您 他 是 在 \
     里 中 上 要 能 会 把 将 被 与 和 及 或 也 都 就 来 去 个 得 地 着 为 以 请 想 教 何";

/// Parts of Han that are one to a question: the first, and what stands for it.
pub(super) static SAME_PARTS: &[(&str, &str)] = &[
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
static SYNONYMS: Rows = &[
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

static FIGURE_INDEX: Index = LazyLock::new(|| index(FIGURES));
static MONTH_INDEX: Index = LazyLock::new(|| index(MONTHS));
static NEGATION_INDEX: Index = LazyLock::new(|| index(NEGATIONS));
static DIRECTION_INDEX: Index = LazyLock::new(|| index(DIRECTIONS));
static SYNONYM_INDEX: Index = LazyLock::new(|| index(SYNONYMS));

/// Words by all languages in which they say little.
static FUNCTION_INDEX: LazyLock<HashMap<&'static str, Vec<usize>>> = LazyLock::new(|| {
    let mut languages: HashMap<&str, Vec<usize>> = HashMap::new();
    for (language, (_, words)) in FUNCTION_WORDS.iter().enumerate() {
        for word in words.split_whitespace() {
            languages.entry(word).or_default().push(language);
        }
    }
    languages
});

/// Rows of [`OPPOSITES`] by their words, and whether a word is on the first side.
static OPPOSITE_INDEX: LazyLock<HashMap<&'static str, Vec<(usize, bool)>>> = LazyLock::new(|| {
    let mut rows: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
    for (row, (one, other)) in OPPOSITES.iter().enumerate() {
        for (words, is_one) in [(one, true), (other, false)] {
            for word in words.split(' ') {
                rows.entry(word).or_default().push((row, is_one));
            }
        }
    }
    rows
});

/// The rows of [`OPPOSITES`] that have a word, and whether on the first side.
pub(super) fn opposites_of(word: &str) -> &'static [(usize, bool)] {
    OPPOSITE_INDEX.get(word).map_or(&[], Vec::as_slice)
}

/// How many languages the table of function words has.
pub(super) const LANGUAGES: usize = FUNCTION_WORDS.len();

/// The number that a word is.
pub(super) fn figure_of(word: &str) -> Option<&'static str> {
    FIGURE_INDEX.get(word).copied()
}

/// The one name of a unit.
pub(super) fn unit_of(word: &str) -> Option<&'static str> {
    let row = UNITS.iter().find(|row| row.contains(&word))?;
    row.first().copied()
}

/// Whether a part of Han or Kana turns a statement around.
pub(super) fn is_negating(part: &str) -> bool {
    let mut rows = NEGATING_PARTS.iter();
    rows.any(|(_, parts)| parts.split(' ').any(|known| known == part))
}

/// The month that a word may be.
pub(super) fn month_of(word: &str) -> Option<&'static str> {
    MONTH_INDEX.get(word).copied()
}

/// How a word turns a statement around.
pub(super) fn negation_of(word: &str) -> Option<&'static str> {
    NEGATION_INDEX.get(word).copied()
}

/// What a word says of what follows.
pub(super) fn direction_of(word: &str) -> Option<&'static str> {
    DIRECTION_INDEX.get(word).copied()
}

/// The word that stands for a word and its synonyms.
pub(super) fn synonym_of(word: &str) -> Option<&'static str> {
    SYNONYM_INDEX.get(word).copied()
}

/// The languages in which a word says little, as positions below [`LANGUAGES`].
pub(super) fn languages_of(word: &str) -> &'static [usize] {
    FUNCTION_INDEX.get(word).map_or(&[], Vec::as_slice)
}

/// The value of a Chinese numeral.
pub(super) fn han_value(c: char) -> Option<u64> {
    const DIGITS: [char; 10] = ['零', '一', '二', '三', '四', '五', '六', '七', '八', '九'];
    match c {
        '〇' => Some(0),
        '两' | '兩' => Some(2),
        '十' => Some(10),
        '百' => Some(100),
        '千' => Some(1000),
        '万' | '萬' => Some(10_000),
        '亿' | '億' => Some(100_000_000),
        _ => DIGITS
            .iter()
            .position(|digit| *digit == c)
            .map(|at| at as u64),
    }
}
