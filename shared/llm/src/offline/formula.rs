//! Formulas in plain text as LaTeX between dollar signs.
//!
//! Knows only what the notes contain: it finds runs of mathematical characters with an equals sign
//! or a power in them, and leaves alone what it is not sure of.

const OPERATORS: &str = "=+-±×·/";
const POWERS: &[char] = &['²', '³', '⁴'];

/// The text with its formulas set in LaTeX.
pub(super) fn typeset(text: &str) -> String {
    let mut typeset = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.find(is_mathematical).unwrap_or(rest.len());
        let (before, at_run) = rest.split_at(start);
        typeset.push_str(before);
        let (run, after) = at_run.split_at(run_bytes(at_run));
        let formula = run.trim_end_matches(['.', ',', ' ']);
        if is_formula(formula) {
            typeset.push('$');
            typeset.push_str(&latex(formula));
            typeset.push('$');
            typeset.push_str(run.strip_prefix(formula).unwrap_or_default());
        } else {
            typeset.push_str(run);
        }
        rest = after;
    }
    typeset
}

fn is_mathematical(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "()._√½°πθ".contains(c)
        || OPERATORS.contains(c)
        || POWERS.contains(&c)
}

fn is_operator(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| OPERATORS.contains(c))
}

/// How far a run goes that begins here: over a space only next to an operator that stands alone.
fn run_bytes(text: &str) -> usize {
    let word = |text: &str| text.find(|c| !is_mathematical(c)).unwrap_or(text.len());
    let mut end = word(text);
    let mut last_is_operator = text.get(..end).is_some_and(is_operator);
    while let Some(next) = text.get(end..).and_then(|rest| rest.strip_prefix(' ')) {
        let next = next.get(..word(next)).unwrap_or_default();
        let next_is_operator = is_operator(next);
        if next.is_empty() || !(last_is_operator || next_is_operator) {
            break;
        }
        end += 1 + next.len();
        last_is_operator = next_is_operator;
    }
    end
}

fn is_formula(run: &str) -> bool {
    let has_sign = run.contains('=') || run.contains(POWERS);
    let has_word = run
        .split(|c: char| !c.is_ascii_alphabetic())
        .any(|word| word.len() > 2);
    let mut open = 0;
    let is_balanced = run.chars().all(|c| {
        open += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        open >= 0
    });
    has_sign
        && !has_word
        && is_balanced
        && open == 0
        && run.chars().count() > 2
        && !run.starts_with('=')
        && !run.ends_with(|c| OPERATORS.contains(c))
}

fn latex(formula: &str) -> String {
    let mut latex = String::with_capacity(formula.len() + 16);
    // For each parenthesis that is open: what closes it.
    let mut closing = Vec::new();
    let mut chars = formula.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' => {
                closing.push(')');
                latex.push('(');
            }
            ')' => latex.push(closing.pop().unwrap_or(')')),
            '√' if chars.next_if_eq(&'(').is_some() => {
                closing.push('}');
                latex.push_str("\\sqrt{");
            }
            '²' | '³' | '⁴' => {
                latex.push_str("^{");
                latex.push(digit(c));
                while let Some(next) = chars.next_if(|next| POWERS.contains(next)) {
                    latex.push(digit(next));
                }
                latex.push('}');
            }
            '½' => latex.push_str("\\tfrac{1}{2}"),
            other => match command(other) {
                Some(command) => {
                    latex.push_str(command);
                    if chars.peek() != Some(&' ') {
                        latex.push(' ');
                    }
                }
                None => latex.push(other),
            },
        }
    }
    latex
}

/// What has to be followed by a space.
fn command(c: char) -> Option<&'static str> {
    Some(match c {
        '±' => "\\pm",
        '×' => "\\times",
        '·' => "\\cdot",
        'π' => "\\pi",
        'θ' => "\\theta",
        '°' => "^\\circ",
        '√' => "\\sqrt",
        _ => return None,
    })
}

fn digit(power: char) -> char {
    match power {
        '²' => '2',
        '³' => '3',
        _ => '4',
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formulas_of_the_notes() {
        for (text, expected) in [
            ("即a²+b²=c²。反过来", "即$a^{2}+b^{2}=c^{2}$。反过来"),
            (
                "比如99×101=100²-1=9999。",
                "比如$99\\times 101=100^{2}-1=9999$。",
            ),
            (
                "(a±b)²=a²±2ab+b²。",
                "$(a\\pm b)^{2}=a^{2}\\pm 2ab+b^{2}$。",
            ),
            (
                "mass times acceleration, F = ma. Doubling",
                "mass times acceleration, $F = ma$. Doubling",
            ),
            (
                "formula x = (-b ± √(b² - 4ac)) / 2a gives the roots of ax² + bx + c = 0 when",
                "formula $x = (-b \\pm \\sqrt{b^{2} - 4ac}) / 2a$ gives the roots of $ax^{2} + bx + c = 0$ when",
            ),
            ("6.022×10²³ particles", "$6.022\\times 10^{23}$ particles"),
            ("energy is ½mv², so", "energy is $\\tfrac{1}{2}mv^{2}$, so"),
        ] {
            assert_eq!(typeset(text), expected);
        }
    }

    #[test]
    fn what_is_not_surely_a_formula_is_left_alone() {
        for text in [
            "n1·sin θ1 = n2·sin θ2",
            "动力×动力臂=阻力×阻力臂",
            "P(A and B) = P(A)·P(B)",
            "a half-life of 5 years, e.g. 3-4",
            "x = ",
            "= 3",
        ] {
            assert_eq!(typeset(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_letters(text in "[ab=²(√)。 ±1.,x\n导]{0,24}") {
            let letters = |text: &str| text.chars().filter(|c| "ab1x导。".contains(*c)).count();
            let set = typeset(&text);
            prop_assert_eq!(letters(&set), letters(&text));
        }
    }
}
