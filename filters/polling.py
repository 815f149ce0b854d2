"""Asking a model that answers questions about each object that a caption names, after POPE (Li et al. 2023).

POPE asks "Is there a dog in the image?" and reads an answer by its first sentence: a no where it holds the word "no" or
"not", else a yes. The Chinese question and the reading of its answers are our own, as POPE has English ones only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from filters.concepts import Concept
from filters.normalise import matching

QUESTIONS = {
    "en": "Is there {} in the image?",
    "zh": "图片中有{}吗？",
}

# "a dog", but "any skis": what has no article is many things or a stuff
_ARTICLE = re.compile(r"(?:an?|the|some|any) ")
_SENTENCE = re.compile(r"([^.。!！?？\n]*)([.。!！?？\n]|$)")
_ENGLISH_NO = re.compile(r"(?<![a-z])(?:no|not|none|cannot)(?![a-z])|n['’]t(?![a-z])")
_CHINESE_NO = re.compile(r"没(?!错)|无(?!疑|论|人机)|不(?!仅|但|光|止|只|过|错)|否(?!则)|未(?!来)|并非")
_WORD = re.compile(r"[^\W\d_]")  # the number of a list is no word
# 有 alone is a yes, 有桌子 says what else is there
_YES = re.compile(r"\W*(?:yes(?![a-z])|(?:是的?|有的?|对的?)(?=\W|$))")


class Poll(NamedTuple):
    """One question: which caption it is about (its place), which object, and the words."""

    caption: int
    object: str
    question: str


def question(concept: Concept, language: str) -> str:
    """The question whether a picture shows the object; in English where the language has none, as POPE asks."""
    if language == "zh" and concept.zh:
        return QUESTIONS["zh"].format(concept.zh)
    thing = concept.en or concept.zh
    return QUESTIONS["en"].format(thing if _ARTICLE.match(thing) else f"any {thing}")


def polls(
    mentions: Sequence[Sequence[str]], languages: Sequence[str | None], concepts: Sequence[Concept]
) -> list[Poll]:
    """The questions about captions that name `mentions`: each object of each once, in the caption's language."""
    known = {concept.id: concept for concept in concepts}
    return [
        Poll(place, one, question(known[one], language or "en"))
        for place, (named, language) in enumerate(zip(mentions, languages, strict=True))
        for one in dict.fromkeys(named)
    ]


def says_yes(answer: str) -> bool | None:
    """What an answer says to "is there": its first sentence decides; null where there is no word in it.

    By POPE's rule whatever is not a no is a yes, also "Nothing there", as only whole words count. Ours beyond it: a
    sentence that begins with yes is one, whatever it says then ("Yes, there is no doubt"), a question that the answer
    repeats is passed over, "n't" and "none" are a no, and Chinese answers are read for 没, 不, 无 and 否, unless within
    words that deny nothing.
    """
    said = [
        words for words, end in _SENTENCE.findall(matching(answer)) if _WORD.search(words) and end not in ("?", "？")
    ]
    if not said:
        return None
    if _YES.match(said[0]):
        return True
    return not (_ENGLISH_NO.search(said[0]) or _CHINESE_NO.search(said[0]))


def absent(answers: Sequence[tuple[str, bool | None]]) -> str | None:
    """Of the objects of one caption, with what was said of each, the first that is not there; null where none is."""
    return next((one for one, there in answers if there is False), None)
