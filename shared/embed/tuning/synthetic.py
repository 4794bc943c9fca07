"""Makes pairs of questions whose label is known by how they were made.

    python synthetic.py FIT.jsonl HELD_OUT.jsonl

Rows have a, b, label (1 if both ask the same) and kind: what of it was made by, then `same` or in what the two
differ. Most are made of the words and wordings of our own in `words_chinese.py` and `words_english.py`, in the style
of school questions; those whose kind begins with `edit_` are training pairs with one place changed (`edits.py`) and
stay out of the repository as those do.
"""

import argparse
import random
from collections import Counter

import words_chinese
import words_english
from edits import add_edits
from pairs import split, write_rows
from words_chinese import EITHER_ORDER

HELD_OUT_SHARE = 0.04
# Of pairs in which only the order differs there are few, and they are the hardest: each is used so often.
ORDER_TIMES = 3
# Tries for each kind; some yield nothing.
CHINESE_ONE, ENGLISH_ONE, CHINESE_TWO, ENGLISH_TWO = 9_000, 7_000, 5_000, 4_000
ACTIONS, CLASSES, NUMBERED, SUMS, EDITS = 3_000, 1_800, 1_800, 9_000, 26_000
# Sums that depend on which number comes first, and those of one number.
ORDERED = {"difference", "quotient", "percentage", "power", "logarithm", "equation", "apples_eaten", "speed"}
OF_ONE = {
    "square", "cube", "cube_root", "square_root", "factorial", "sine", "cosine", "prime", "even", "circle_area",
    "circumference", "square_area", "square_perimeter", "derivative", "integral", "exam_plan", "essay_length", "year",
}
# Sums that are taken for one another.
CONFUSED = (
    ("sum", "difference"), ("product", "quotient"), ("sum", "product"), ("difference", "quotient"),
    ("common_divisor", "common_multiple"), ("square", "cube"), ("square_root", "cube_root"), ("square_root", "square"),
    ("sine", "cosine"), ("prime", "even"), ("circle_area", "circumference"), ("square_area", "square_perimeter"),
    ("derivative", "integral"), ("apples_eaten", "apples_bought"), ("power", "product"), ("logarithm", "power"),
    ("percentage", "quotient"), ("square_area", "circle_area"), ("square", "factorial"),
)


def alternatives(text):
    return [part.strip() for part in text.split("|")]


class Maker:
    """Pairs in the making, and the chance by which they are made: the same seed gives the same pairs."""

    def __init__(self, seed):
        self.chance, self.rows = random.Random(seed), []

    def add(self, one, other, label, kind):
        one, other = one.strip(), other.strip()
        if one and other and (one != other or label):
            self.rows.append({"a": one, "b": other, "label": label, "kind": kind})

    def happens(self, share):
        """True in that share of cases."""
        return self.chance.random() < share

    def one_of(self, text):
        """One of the alternatives of a text, or of a list."""
        return self.chance.choice(alternatives(text) if isinstance(text, str) else text)

    def dressed(self, text, words):
        """The text with what does not change what it asks: a greeting, thanks, other case and marks."""
        is_greeted = self.chance.random()
        if words is words_chinese:
            if is_greeted < 0.12:
                text = self.one_of(words.BEFORE) + text
            if self.happens(0.35):
                text = text.rstrip("？?") + self.one_of(words.AFTER)
            return text
        if is_greeted < 0.06:
            text = self.one_of(words.BEFORE) + " " + text
        if self.happens(0.06):
            text += " " + self.one_of(words.AFTER)
        if self.happens(0.2):
            text = text.lower()
        if self.happens(0.25):
            text = text.rstrip("?")
        if self.happens(0.5) and text:
            text = text[0].upper() + text[1:]
        return text

    def near(self, number):
        """Another number that is easily taken for it."""
        near = {
            number + 1, number - 1, number * 10, number + 10, number + self.chance.randint(1, 9),
            int(str(number)[::-1]), self.chance.randint(2, 120),
        }
        if number >= 20:
            near.add(number // 10)
        return self.chance.choice([n for n in sorted(near) if n > 1 and n != number] or [number + 1])

    def written(self, number, words):
        """A number in digits, or a small one sometimes in words."""
        if number <= 10 and self.happens(0.25):
            return words.DIGITS[number] if words is words_chinese else alternatives(words.CARDINALS)[number]
        return str(number)

    def about_one(self, words, tries):
        """Other wordings, other things and other intents of a question about one thing."""
        for _ in range(tries):
            family = self.one_of(list(words.ABOUT_ONE))
            slot, intents = words.ABOUT_ONE[family]
            group = alternatives(self.one_of(words.GROUPS[slot]))
            thing, intent = self.one_of(group), self.one_of(list(intents))
            wordings = alternatives(intents[intent])
            wording, which = self.one_of(wordings), self.chance.random()

            def ask(template, thing=thing):
                return self.dressed(template.format(x=thing), words)

            if which < 0.45:
                others = [other for other in wordings if other != wording]
                self.add(ask(wording), ask(self.one_of(others or wordings)), 1, f"{family}/same")
            elif which < 0.72:
                changed = self.one_of([other for other in group if other != thing])
                first = ask(wording)
                another = wording if self.happens(0.6) else self.one_of(wordings)
                self.add(first, ask(another, changed), 0, f"{family}/entity")
            elif which < 0.76:
                changed = self.one_of(self.one_of(words.GROUPS[slot]))
                if changed != thing:
                    self.add(ask(wording), ask(wording, changed), 0, f"{family}/entity")
            else:
                another = intents[self.one_of([name for name in intents if name != intent])]
                self.add(ask(wording), ask(self.one_of(another)), 0, f"{family}/aspect")

    def about_two(self, words, tries):
        """The same for a question about two things, and the two in the other order."""
        groups = {slot: [g for g in map(alternatives, texts) if len(g) > 2] for slot, texts in words.GROUPS.items()}
        for _ in range(tries):
            family = self.one_of(list(words.ABOUT_TWO))
            slot, order, intents = words.ABOUT_TWO[family]
            one, other, third = self.chance.sample(self.one_of(groups[slot]), 3)
            intent = self.one_of(list(intents))
            wordings = alternatives(intents[intent])
            wording, another, which = self.one_of(wordings), self.one_of(wordings), self.chance.random()

            def ask(template, things=(one, other)):
                return self.dressed(template.format(x=things[0], y=things[1]), words)

            if which < 0.4:
                is_swapped = order == EITHER_ORDER and self.happens(0.6)
                first = ask(wording)
                another = another if another != wording or is_swapped else self.one_of(wordings)
                self.add(first, ask(another, (other, one) if is_swapped else (one, other)), 1, f"{family}/same")
            elif which < 0.65 and order != EITHER_ORDER:
                first = ask(wording)
                another = wording if self.happens(0.6) else another
                self.add(first, ask(another, (other, one)), 0, f"{family}/order")
            elif which < 0.85:
                first = ask(wording)
                another = wording if self.happens(0.5) else another
                self.add(first, ask(another, self.one_of([(one, third), (third, other)])), 0, f"{family}/entity")
            elif len(intents) > 1:
                another = intents[self.one_of([name for name in intents if name != intent])]
                self.add(ask(wording), ask(self.one_of(another)), 0, f"{family}/aspect")

    def actions(self, tries):
        """Doing, undoing, avoiding and failing to do something to a thing."""
        for _ in range(tries):
            words = words_chinese if self.happens(0.5) else words_english
            thing = self.one_of(self.one_of(words.GROUPS["object"]))
            actions = list(self.one_of(words.OPPOSITE_ACTIONS))
            self.chance.shuffle(actions)
            wording, another = self.one_of(words.ACTION_HOW), self.one_of(words.ACTION_HOW)

            def ask(template, at=0, thing=thing):
                action = actions[at] if words is words_chinese else self.one_of(actions[at])
                return self.dressed(template.format(v=action, x=thing), words)

            which = self.chance.random()
            if which < 0.42:
                self.add(ask(wording), ask(another), 1, "action/same")
            elif which < 0.68:
                first = ask(wording)
                self.add(first, ask(wording if self.happens(0.6) else another, 1), 0, "action/antonym")
            elif which < 0.78:
                self.add(ask(wording), ask(self.one_of(words.ACTION_AVOIDED)), 0, "action/negation")
            elif which < 0.86:
                self.add(ask(wording), ask(self.one_of(words.ACTION_FAILS)), 0, "action/aspect")
            else:
                group = next(g for g in map(alternatives, words.GROUPS["object"]) if thing in g)
                changed = self.one_of([other for other in group if other != thing])
                self.add(ask(wording), ask(another, 0, changed), 0, "action/entity")

    def classes(self, tries):
        """Which of a class do something, and which do not."""
        for _ in range(tries):
            words = words_chinese if self.happens(0.5) else words_english
            name, deeds = self.one_of(words.CLASSES)
            if words is words_chinese:
                deed, other_deed = self.chance.sample(alternatives(deeds), 2)
                denied = ("没" if deed.startswith("有") else "不") + deed
            else:
                (deed, denied), (other_deed, _) = self.chance.sample(deeds, 2)
            is_denied = self.happens(0.5)
            wording, another = self.one_of(words.WHICH_OF_CLASS), self.one_of(words.WHICH_OF_CLASS)

            def ask(template, deed):
                return self.dressed(template.format(s=name, v=deed), words)

            which = self.chance.random()
            if which < 0.4:
                asked = denied if is_denied else deed
                self.add(ask(wording, asked), ask(another, asked), 1, "class/same")
            elif which < 0.8:
                asked, opposite = (deed, denied) if is_denied else (denied, deed)
                first = ask(wording, asked)
                another = wording if self.happens(0.5) else another
                self.add(first, ask(another, opposite), 0, "class/negation")
            else:
                self.add(ask(wording, deed), ask(another, other_deed), 0, "class/entity")

    def numbered(self, tries):
        """Laws, chapters and years of school by their number."""
        for _ in range(tries):
            number, other_number = self.chance.sample(range(1, 7), 2)
            words = words_chinese if self.happens(0.5) else words_english
            thing = self.one_of(words.NUMBERED)
            intent = self.one_of(words.NUMBERED_ASKED)
            other_intent = self.one_of([asked for asked in words.NUMBERED_ASKED if asked is not intent])

            def ask(template, number):
                return self.dressed(template.format(x=self.numbered_thing(thing, number, words)), words)

            which = self.chance.random()
            if which < 0.45:
                first = ask(self.one_of(intent), number)
                self.add(first, ask(self.one_of(intent), number), 1, "numbered/same")
            elif which < 0.85:
                wording = self.one_of(intent)
                first = ask(wording, number)
                another = wording if self.happens(0.6) else self.one_of(intent)
                self.add(first, ask(another, other_number), 0, "numbered/number")
            else:
                first = ask(self.one_of(intent), number)
                self.add(first, ask(self.one_of(other_intent), number), 0, "numbered/aspect")

    def numbered_thing(self, thing, number, words):
        if words is words_chinese:
            digit = words.DIGITS[number]
            is_fixed = "定律" in thing or "高" in thing
            return thing.format(n=digit if is_fixed else self.one_of([digit, str(number)]))
        ordinal, short = (alternatives(of)[number] for of in (words.ORDINALS, words.SHORT_ORDINALS))
        ordinal = self.one_of([ordinal, ordinal, short])
        return thing.format(n=ordinal, d=self.one_of([str(number), alternatives(words.CARDINALS)[number]]))

    def sums(self, tries):
        """Sums with the same and with other numbers, in the other order, and of another kind."""
        confused = {}
        for one, other in CONFUSED:
            confused.setdefault(one, []).append(other)
            confused.setdefault(other, []).append(one)
        for _ in range(tries):
            family = self.one_of(list(words_chinese.ARITHMETIC))
            words = words_chinese if self.happens(0.5) else words_english
            wordings = alternatives(words.ARITHMETIC[family])
            highest = self.one_of([10, 20, 100, 1_000])
            numbers = self.chance.randint(2, highest), self.chance.randint(2, highest)
            if numbers[0] == numbers[1]:
                numbers = numbers[0], numbers[1] + 1
            wording, another, which = self.one_of(wordings), self.one_of(wordings), self.chance.random()
            turned = numbers[::-1]

            def ask(template, numbers=numbers, two_digits=None):
                one, other = numbers
                two_digits = two_digits or str(one * 7 % 90 + 10)
                text = template.format(
                    a=self.written(one, words), b=self.written(other, words), A=one, B=other, C=two_digits
                )
                return self.dressed(text, words)

            is_of_two, is_ordered = family not in OF_ONE, family in ORDERED
            if which < 0.42:
                may_turn = is_of_two and not is_ordered and family != "apples_bought"
                second = turned if may_turn and self.happens(0.4) else numbers
                self.add(ask(wording), ask(another, second), 1, f"{family}/same")
            elif which < 0.75:
                changed = self.changed(numbers, is_of_two)
                is_same_year = family == "year" and (changed[0] - numbers[0]) * 7 % 90 == 0
                is_turned = is_of_two and not is_ordered and set(changed) == set(numbers)
                if not is_same_year and not is_turned:
                    first = ask(wording)
                    another = wording if self.happens(0.6) else another
                    self.add(first, ask(another, changed), 0, f"{family}/number")
            elif which < 0.87 and is_of_two and is_ordered:
                first = ask(wording)
                self.add(first, ask(wording if self.happens(0.6) else another, turned), 0, f"{family}/order")
            elif family in confused:
                other_family = self.one_of(confused[family])
                first = ask(wording)
                another = self.one_of(words.ARITHMETIC[other_family])
                self.add(first, ask(another, numbers, "50"), 0, f"{family}/antonym")

    def changed(self, numbers, is_of_two):
        one, other = numbers
        if not is_of_two or self.happens(0.5):
            return self.near(one), other
        return one, self.near(other)

    def parts(self):
        """What to fit to and what is held out, each pair once, but those of order."""
        seen, fitting, held_out = set(), [], []
        for row in self.rows:
            if (row["a"], row["b"]) in seen:
                continue
            seen.add((row["a"], row["b"]))
            if self.happens(HELD_OUT_SHARE):
                held_out.append(row)
            else:
                fitting += [row] * (ORDER_TIMES if row["kind"].endswith("/order") else 1)
        self.chance.shuffle(fitting)
        return fitting, held_out


def main():
    parser = argparse.ArgumentParser(description="Make synthetic pairs of questions.")
    parser.add_argument("fit", help="the file to write with rows to tune on")
    parser.add_argument("held_out", help="the file to write with rows to judge and calibrate on")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--scale", type=float, default=1.0, help="how many, as a share of the usual count")
    parser.add_argument("--without-edits", action="store_true", help="make none of training pairs, which are not read")
    arguments = parser.parse_args()

    def tries(count):
        return round(count * arguments.scale)

    maker = Maker(arguments.seed)
    maker.about_one(words_chinese, tries(CHINESE_ONE))
    maker.about_one(words_english, tries(ENGLISH_ONE))
    maker.about_two(words_chinese, tries(CHINESE_TWO))
    maker.about_two(words_english, tries(ENGLISH_TWO))
    maker.actions(tries(ACTIONS))
    maker.classes(tries(CLASSES))
    maker.numbered(tries(NUMBERED))
    maker.sums(tries(SUMS))
    if not arguments.without_edits:
        add_edits(maker, split()[0], tries(EDITS))
    fitting, held_out = maker.parts()
    write_rows(arguments.fit, fitting)
    write_rows(arguments.held_out, held_out)
    print(f"{len(fitting)} rows to tune on, {len(held_out)} held out")
    for kind, count in Counter(row["kind"].split("/")[1] for row in fitting).most_common():
        print(f"{count:7} {kind}")


if __name__ == "__main__":
    main()
