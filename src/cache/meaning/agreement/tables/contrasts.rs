//! Words that make two texts of the same words ask two things.
//!
//! Owns negations, opposites and words of direction. Does not look words up in them (see `tables`). Never fails.

use super::Rows;

/// Words that turn a statement around, by how they do.
pub(super) static NEGATIONS: Rows = &[
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
pub(in super::super) static NEGATING_PARTS: Rows = &[
    (
        "not",
        "不 没 沒 无 無 非 未 勿 莫 否 ない ません なく なし ず 않 없 못",
    ),
    ("without", "除了 除外 以外"),
    ("only", "只 仅 僅 だけ のみ 만"),
];

/// Words of opposite directions: one text has one of them, and the other its opposite.
pub(in super::super) static OPPOSITES: &[(&str, &str)] = &[
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
    ("last past previous", "next upcoming future"),
    (
        "letzte letzten letztes letzter",
        "nächste nächsten nächstes nächster",
    ),
    ("dernier dernière", "prochain prochaine"),
    ("pasado pasada último última", "próximo próxima"),
    (
        "прошлый прошлом прошлой прошлого",
        "следующий следующем следующей следующего",
    ),
    ("my mine me", "your yours"),
    ("my mine", "his her their"),
    ("your yours", "his her their"),
    (
        "mein meine meinen meinem meiner",
        "dein deine deinen deinem deiner euer eure ihr ihre ihren ihrem",
    ),
    ("mon ma mes", "ton ta tes votre vos son sa ses leur"),
    ("mi mis", "tu tus su sus"),
    (
        "мой моя моё мои мою",
        "твой твоя твои ваш ваша ваши его её их",
    ),
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
pub(in super::super) static OPPOSITE_PARTS: &[(&str, &str)] = &[
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
    ("上个 上次 上周 上月 去年", "下个 下次 下周 下月 明年"),
    ("我的", "你的 您的 他的 她的"),
    ("オン 有効", "オフ 無効"),
    ("入", "出"),
];

/// Words behind which it matters what follows: they say from where to where, or what is compared with what.
pub(super) static DIRECTIONS: Rows = &[
    ("from", "from von aus depuis desde из от 从 自 から"),
    ("to", "to into nach zu vers à hasta hacia до 到 至 成 为"),
    ("than", "than als que чем 比"),
    ("before", "before vor avant antes перед"),
    ("after", "after nach après después после"),
];

/// Small words that make a difference: the first and the second person, and what joins words.
pub(super) static SMALL: Rows = &[
    (
        "i",
        "i me my mine myself we us our ours ich mich mir mein meine meinen meinem meiner wir uns je moi mon ma mes \
         nous notre yo mí mi mis nosotros eu meu minha я мне меня мой мы нам нас 我 我们",
    ),
    (
        "you",
        "you your yours yourself du dich dir dein deine deinen deinem ihr euch tu toi ton ta tes vous votre tú ti \
         tus usted você seu sua ты тебе тебя твой вы вам вас 你 您 你们",
    ),
    ("and", "and und et y и 和 与"),
    ("or", "or oder ou o или 或"),
];
