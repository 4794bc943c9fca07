"""Pairs made of training texts by one change whose effect is known."""

import re

import jieba
import jieba.posseg

import words_chinese
import words_english

CHARACTERS_MAX = 110
# A name in the middle of an English sentence.
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}")
SHORT_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}")
NAME_TEXTS = 20_000
NAME_COUNT_MIN, WORD_COUNT_MIN = 4, 2
# jieba's marks of words that can be replaced: nouns, names, places, verbs, adjectives.
REPLACED = ("n", "nr", "ns", "nz", "v", "vn", "a")
# Of words that can change places: also pronouns, but not those that ask.
SWAPPED, ASKING = ("nr", "ns", "n", "r", "nz"), "什么怎么哪个谁"
# Words with these can be denied in part only, or mean something else.
ALTERNATIVE = re.compile("是不是|能不能|会不会|要不要|好不好|不好意思|可不可以")
DENIABLE = ("能", "会", "可以", "有", "想", "喜欢", "知道")
# These have more meanings than the one that has the opposite.
AMBIGUOUS = ("in", "on", "like", "up", "out", "off", "first", "long", "old", "right")
DIRECTED = re.compile(
    r"\bfrom (\w+) to (\w+)|\b(\w+) (?:better|worse|bigger|faster|easier|harder|older) than (\w+)"
    r"|\b(\w+) into (\w+)|\b(\w+) instead of (\w+)"
)
JOINED = re.compile(r"\b([A-Z]\w+|\w+) (and|or|vs\.?) ([A-Z]\w+|\w+)(?=[?.,]|$| (?:different|related))")
CHINESE_DIRECTED = re.compile(
    r"^(.{1,8}?)(比|喜欢|打败|欺负|属于|影响|追|借给|是)(.{1,6}?)(吗|么|的|好|大|高|多|？|$)"
)
CHINESE_JOINED = re.compile(r"(\S{2,6})(和|与|跟|还是)(\S{2,6}?)(的|哪|有|谁|什么|是)")
HOLDER = "\0"


def add_edits(maker, fitting, tries):
    """Adds pairs to `maker`: half of Chinese texts of `fitting`, half of English ones. Some tries yield nothing."""
    jieba.setLogLevel(60)
    english = [p for p in fitting["qqp_en"] if max(len(p.one), len(p.other)) < CHARACTERS_MAX]
    chinese = [pair for name in ("lcqmc_zh", "bq_zh", "oppo_zh") for pair in fitting[name]]
    editor = Editor(maker, names(english), words_by_mark(chinese))
    for _ in range(tries):
        words, pool = (words_chinese, chinese) if maker.happens(0.5) else (words_english, english)
        editor.edit(words, maker.one_of(pool))


def names(pairs):
    """Names that are frequent in English texts."""
    counts = {}
    for pair in pairs[:NAME_TEXTS]:
        for text in (pair.one, pair.other):
            for name in NAME.findall(text):
                counts[name] = counts.get(name, 0) + 1
    return [name for name, count in counts.items() if count >= NAME_COUNT_MIN]


def words_by_mark(pairs):
    """Chinese words that can stand for one another, by their mark."""
    counts = {}
    for pair in pairs:
        for word in jieba.posseg.cut(pair.one):
            if word.flag in REPLACED and len(word.word) >= 2:
                of_mark = counts.setdefault(word.flag, {})
                of_mark[word.word] = of_mark.get(word.word, 0) + 1
    return {mark: [w for w, count in of.items() if count >= WORD_COUNT_MIN] for mark, of in counts.items()}


def marked(text):
    return [(word.word, word.flag) for word in jieba.posseg.cut(text)]


def opposites():
    found = {}
    for one, other in words_english.OPPOSITES:
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return {word: sorted(others) for word, others in found.items()}


class Editor:
    def __init__(self, maker, english_names, chinese_words):
        self.maker, self.names, self.words_by_mark = maker, english_names, chinese_words
        self.opposites = opposites()

    def edit(self, words, pair):
        """One change of one of the pair's texts, beside that text or what asks the same."""
        maker = self.maker
        text, other = pair.one, pair.other
        if maker.happens(0.5):
            text, other = other, text
        is_same = pair.label == 1
        partner = other if is_same and maker.happens(0.5) else text
        which = maker.chance.random()
        if which < 0.1:
            maker.add(text, maker.dressed(text, words), 1, "edit_dress/same")
        elif which < 0.22:
            self.reworded(words, text, partner)
        elif which < 0.38:
            self.number(text, other, partner, is_same)
        elif which < 0.62:
            self.turned(words, text, partner)
        elif which < 0.82:
            replace = self.chinese_word if words is words_chinese else self.english_word
            replace(text, other, partner, is_same)
        elif words is words_chinese:
            self.chinese_order(text)
        else:
            self.english_order(text)

    def reworded(self, words, text, partner):
        fitting = [edit for edit in words.EDITS_SAME if edit[0] in text]
        if fitting:
            old, new = self.maker.one_of(fitting)
            self.maker.add(partner, self.maker.dressed(text.replace(old, new, 1), words), 1, "edit_wording/same")

    def number(self, text, other, partner, is_same):
        found = list(re.finditer(r"\d+", text))
        if not found:
            return
        place = self.maker.one_of(found)
        old = place.group()
        new = str(self.maker.near(int(old))) if len(old) < 9 else old[:-1] + str((int(old[-1]) + 1) % 10)
        if len(old) == 4 and 1900 < int(old) < 2100:
            new = str(int(old) + self.maker.one_of([-3, -2, -1, 1, 2, 5]))
        edited = text[: place.start()] + new + text[place.end() :]
        self.maker.add(partner, edited, 0, "edit_number/number")
        whole = re.compile(rf"(?<!\d){old}(?!\d)")
        if is_same and len(whole.findall(other)) == 1 and self.maker.happens(0.8):
            self.maker.add(whole.sub(new, other), edited, 1, "edit_number/same")

    def turned(self, words, text, partner):
        """Denied, or another thing asked."""
        fitting = [edit for edit in words.EDITS_DIFFERENT if edit[0] in text]
        if words is words_chinese:
            fitting = [edit for edit in fitting if may_turn(edit[0], text)]
        if fitting:
            old, new = self.maker.one_of(fitting)
            is_denial = any(no in old + new for no in ("不", "not", "n't"))
            kind = "edit_denial/negation" if is_denial else "edit_question/aspect"
            self.maker.add(partner, text.replace(old, new, 1), 0, kind)

    def chinese_word(self, text, other, partner, is_same):
        words = marked(text)
        places = [at for at, (word, mark) in enumerate(words) if mark in self.words_by_mark and len(word) >= 2]
        if not places:
            return
        place = self.maker.one_of(places)
        old, mark = words[place]
        new = self.maker.one_of(self.words_by_mark[mark])
        if new in old or old in new:
            return
        edited = "".join(new if at == place else word for at, (word, _) in enumerate(words))
        self.maker.add(partner, edited, 0, "edit_word/entity")
        if is_same and text.count(old) == other.count(old) == 1:
            self.maker.add(other.replace(old, new), edited, 1, "edit_word/same")

    def english_word(self, text, other, partner, is_same):
        found = NAME.findall(text)
        if found:
            old, new = self.maker.one_of(found), self.maker.one_of(self.names)
            if new == old:
                return
            edited = text.replace(old, new)
            self.maker.add(partner, edited, 0, "edit_word/entity")
            if is_same and old in other:
                self.maker.add(other.replace(old, new), edited, 1, "edit_word/same")
            return
        words = text.split()
        bare = [word.strip("?,.").lower() for word in words]
        places = [at for at, word in enumerate(bare) if word in self.opposites and word not in AMBIGUOUS]
        if places:
            place = self.maker.one_of(places)
            new = words[place].lower().replace(bare[place], self.maker.one_of(self.opposites[bare[place]]))
            self.maker.add(partner, " ".join([*words[:place], new, *words[place + 1 :]]), 0, "edit_opposite/antonym")

    def chinese_order(self, text):
        directed, joined = CHINESE_DIRECTED.search(text), CHINESE_JOINED.search(text)
        if directed and directed[1] != directed[3] and directed[2] != "是":
            edited = directed[3] + directed[2] + directed[1] + text[directed.end(3) :]
            self.maker.add(text, edited, 0, "edit_order/order")
        elif joined and self.maker.happens(0.6):
            edited = text[: joined.start()] + joined[3] + joined[2] + joined[1] + text[joined.end(3) :]
            self.maker.add(text, edited, 1, "edit_order/same")
        else:
            words = marked(text)
            places = [at for at, (word, mark) in enumerate(words) if mark in SWAPPED and word not in ASKING]
            if len(places) < 2:
                return
            one, other = places[0], places[-1]
            between = words[one + 1 : other]
            is_joined = re.search("和|与|跟|还是|、|是", "".join(word for word, _ in between))
            is_directed = any(mark.startswith("v") or mark == "p" for _, mark in between)
            if words[one][0] != words[other][0] and is_directed and not is_joined:
                edited = [word for word, _ in words]
                edited[one], edited[other] = edited[other], edited[one]
                self.maker.add(text, "".join(edited), 0, "edit_order/order")

    def english_order(self, text):
        directed, joined = DIRECTED.search(text), JOINED.search(text)
        if directed:
            one, other = (word for word in directed.groups() if word)
            part = re.sub(rf"\b{re.escape(one)}\b", HOLDER, directed.group(), count=1)
            part = part.replace(other, one).replace(HOLDER, other)
            self.maker.add(text, text[: directed.start()] + part + text[directed.end() :], 0, "edit_order/order")
        elif joined and joined[1][0].isupper() == joined[3][0].isupper():
            part = f"{joined[3]} {joined[2]} {joined[1]}"
            self.maker.add(text, text[: joined.start()] + part + text[joined.end() :], 1, "edit_order/same")
        else:
            found = SHORT_NAME.findall(text)
            if len(set(found)) < 2 or found[0] == found[-1]:
                return
            one, other = found[0], found[-1]
            if not re.search(rf"{one}(,| and| or| vs| &)", text):
                edited = text.replace(one, HOLDER).replace(other, one).replace(HOLDER, other)
                self.maker.add(text, edited, 0, "edit_order/order")


def may_turn(old, text):
    """Whether replacing this in a Chinese text turns what it asks."""
    if old == "不":
        return not ALTERNATIVE.search(text)
    if old not in DENIABLE:
        return True
    other_meanings = "有没有|可能|只有|所有|功能|能力|机会|社会|会员|思想|理想"
    return not re.search(rf"(不|没){old}|{old}不{old}|{other_meanings}", text)
