//! The alphabet of text messages: the GSM 7 bit default alphabet and its extension table (3GPP TS 23.038 §6.2.1). One
//! foreign character in a message halves its room, so what is not in there is written otherwise.

/// The default alphabet without control characters; each takes one septet. Of the letters that French needs it has only
/// `à é è ù` and, in capitals, `É Ç`.
const BASIC: &str = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// What is reached by an escape; each takes two septets.
const EXTENSION: &str = "^{}\\[~]|€";

/// How many septets a character takes; `None`: the alphabet lacks it.
pub(super) fn septets_of(character: char) -> Option<usize> {
    if BASIC.contains(character) {
        Some(1)
    } else {
        EXTENSION.contains(character).then_some(2)
    }
}

/// How many septets a text takes; `None`: the alphabet lacks one of its characters.
pub(super) fn septets(text: &str) -> Option<usize> {
    text.chars().map(septets_of).sum()
}

/// The text in this alphabet: accents that it lacks are left away, the rest becomes what reads alike, or `?`.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for character in text.chars() {
        if septets_of(character).is_some() {
            folded.push(character);
        } else {
            folded.push_str(alike(character));
        }
    }
    folded
}

/// The text up to so many septets.
pub(super) fn cut(text: &str, septets_max: usize) -> String {
    let mut room = septets_max;
    text.chars()
        .take_while(|character| {
            let Some(left) = septets_of(*character).and_then(|needed| room.checked_sub(needed))
            else {
                return false;
            };
            room = left;
            true
        })
        .collect()
}

const fn alike(character: char) -> &'static str {
    match character {
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\n' | '\t' => " ",
        '‘' | '’' | '′' | '`' | '´' => "'",
        '“' | '”' | '„' | '«' | '»' | '″' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '−' | '•' => "-",
        '·' => ".",
        '…' => "...",
        'À' | 'Á' | 'Â' | 'Ã' | 'Ā' => "A",
        'á' | 'â' | 'ã' | 'ā' => "a",
        'Č' | 'Ć' => "C",
        'ç' | 'č' | 'ć' => "c",
        'È' | 'Ê' | 'Ë' | 'Ē' | 'Ě' => "E",
        'ê' | 'ë' | 'ē' | 'ě' => "e",
        'Ì' | 'Í' | 'Î' | 'Ï' => "I",
        'í' | 'î' | 'ï' => "i",
        'Ò' | 'Ó' | 'Ô' | 'Õ' => "O",
        'ó' | 'ô' | 'õ' => "o",
        'Ù' | 'Ú' | 'Û' => "U",
        'ú' | 'û' => "u",
        'Ý' | 'Ÿ' => "Y",
        'ý' | 'ÿ' => "y",
        'Š' => "S",
        'š' => "s",
        'Ž' => "Z",
        'ž' => "z",
        'Œ' => "OE",
        'œ' => "oe",
        'µ' => "u",
        '×' => "x",
        '°' => "o",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_the_published_one() {
        // 128 places, less LF, CR and the escape.
        assert_eq!(BASIC.chars().count(), 125);
        assert_eq!(EXTENSION.chars().count(), 9);
        for character in "éèàùìò".chars() {
            assert_eq!(septets_of(character), Some(1), "{character}");
        }
        for character in "êîôûçëïœÀ«»’…\u{a0}\u{202f}`".chars() {
            assert_eq!(septets_of(character), None, "{character}");
        }
        assert_eq!(septets("[€]"), Some(6));
        assert_eq!(septets("ça"), None);
    }

    #[test]
    fn what_the_alphabet_lacks_is_written_otherwise() {
        assert_eq!(
            folded("« Œuvre », nœud à l’arrêt… ça va\u{202f}: 5\u{a0}€ 漢"),
            "\" OEuvre \", noeud à l'arret... ca va : 5 € ?"
        );
    }

    #[test]
    fn a_cut_never_splits_what_takes_two() {
        assert_eq!(cut("ab[c", 3), "ab");
        assert_eq!(cut("ab[c", 4), "ab[");
        assert_eq!(cut("abc", 9), "abc");
    }
}
