"""Texts that name or reach a person: contact data and the numbers of papers and cards, Chinese ones first.

Patterns are held against `norm`, where full-width digits and letters are plain. No detail ever shows what was found.
"""

import re
from collections.abc import Callable
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from filters.text import TextFilter

Kind = Literal[
    "e-mail address", "mobile number", "telephone number", "resident ID", "bank card", "plate number", "account"
]

# Cheap and too wide, in RE2 over a whole column; what it passes is looked at closely.
_WORTH_A_LOOK = (
    r"[@＠]|[\[(（](?i:at)[\])）]|[0-9]{5}|[0-9]{3,4}[-－–—. )）]{1,2}[0-9]{3,4}|\p{Han}[A-Z][·•. -]?[A-Z0-9]{4}"
    r"|(?i:微信|薇信|weixin|wechat|qq|扣扣|vx|wx)"
)
# Folding leaves the marks of Chinese width: a full-width hyphen or stop, and dashes that stand for one
_DASH = "[-－‐‑–—]"
_DOT = r"(?:[.．]|\s?[\[(（]dot[\])）]\s?)"
_EMAIL = re.compile(
    rf"[A-Za-z0-9](?:[A-Za-z0-9_%+-]|{_DOT}){{0,63}}(?:[@＠]|\s?[\[(（]at[\])）]\s?)(?:[A-Za-z0-9-]{{1,63}}{_DOT}){{1,8}}"
    r"(?!(?:png|jpe?g|gif|webp|svg)\b)[A-Za-z]{2,24}(?![A-Za-z0-9])",  # icon@2x.png is no address
    re.IGNORECASE,
)
_MOBILE = re.compile(
    rf"(?<!\d)(?<!\d\.)(?:(?:\+|00)?86(?:{_DASH}| )?)?1[3-9]\d"
    rf"(?:(| |{_DASH})\d{{4}}\1\d{{4}}|(?: |{_DASH})\d{{8}})(?!\d)",
    re.ASCII,
)
_AREA = r"(?:10|2\d|[3-9]\d{2})"
_LANDLINE = re.compile(
    # China: area code and number; after brackets nothing need stand between them
    rf"(?<!\d)(?:[(（]0{_AREA}[)）](?:{_DASH}| )?|(?:0|(?:\+|00)86(?:{_DASH}| )?){_AREA}(?:{_DASH}| ))"
    rf"(?:\d{{7,8}}|\d{{3,4}}{_DASH}\d{{4}})(?!\d)"
    rf"|(?<!\d)(?:400|800)(?:{_DASH}\d{{3}}{_DASH}\d{{4}}|{_DASH}\d{{4}}{_DASH}\d{{3}}|{_DASH}\d{{7}})(?!\d)"
    # North America
    r"|(?<![\d-])(?:\+?1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([-.]))[2-9]\d{2}(?(1)\1|[-. ])\d{4}(?![\d-])",
    re.ASCII,
)
_RESIDENT = re.compile(
    r"(?<!\d)[1-9]\d{5}([ -]?)(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\1\d{3}[\dXx](?!\d)", re.ASCII
)
_CARD = re.compile(r"(?<!\d)(?<!\d\.)[34569]\d{3}(?:([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{12,15})(?!\d)", re.ASCII)
_PROVINCE = "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"
# Provinces are words too (新A4纸, 黑BMW320): a plate shows its dot, at least four digits of five, or is called one.
_PLATE = re.compile(
    rf"{_PROVINCE}[A-HJ-NP-Z](?:[·•][A-HJ-NP-Z0-9]{{5,6}}|-?(?=(?:[A-Z]?\d){{4}})[A-HJ-NP-Z0-9]{{5,6}})(?![A-Za-z0-9])"
    rf"|{_PROVINCE}[A-HJ-NP-Z][·•-]?(?=[A-Z]?\d{{3}})[A-HJ-NP-Z0-9]{{4}}[挂学警港澳领]"
    rf"|车牌(?:号码?)?[:：为是]?{_PROVINCE}[A-HJ-NP-Z][·•. -]?[A-HJ-NP-Z0-9]{{4,5}}[A-HJ-NP-Z0-9挂学警港澳领]"
)
_ACCOUNT = re.compile(
    r"(?<![a-z])(?:qq|扣扣)(?:号码?|群)?(?:[:：]\s?[1-9]\d{4,10}|\s?[1-9]\d{5,10})(?!\d)"
    r"|(?:微信|薇信|(?<![a-z])(?:weixin|wechat|vx))(?:号码?(?:是|为)?\s?[:：]?|\s?[:：])\s?[a-z][-_a-z0-9]{5,19}"
    r"|加(?:我|个)?(?:微信|薇信|vx|wx)\s?[a-z][-_a-z0-9]{5,19}",
    re.IGNORECASE,
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Personal(TextFilter):
    """The text holds no personal data of these kinds."""

    kinds: tuple[Kind, ...] = Field(default=get_args(Kind), min_length=1)

    @property
    def reason(self) -> Literal["text_pii"]:
        """The reason code."""
        return "text_pii"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the text may stay, else the kinds that it holds, never the data."""
        norm = batch.column("norm")
        suspects = pc.if_else(pc.match_substring_regex(norm, _WORTH_A_LOOK), norm, pa.scalar(None, pa.string()))
        return pa.array([text and self._found(text) for text in suspects.to_pylist()], pa.string())

    def _found(self, text: str) -> str | None:
        found = [kind for kind in self.kinds if _TESTS[kind](text)]
        return f"{', '.join(found)}; none may be there" if found else None


def is_resident_id(number: str) -> bool:
    """Whether the check digit of an 18-character resident identity number is right (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def passes_luhn(digits: str) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _has_resident_id(text: str) -> bool:
    return any(is_resident_id(re.sub("[ -]", "", found[0])) for found in _RESIDENT.finditer(text))


def _has_card(text: str) -> bool:
    return any(passes_luhn(re.sub(r"\D", "", found[0])) for found in _CARD.finditer(text))


def _has(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(text) is not None


_TESTS: dict[Kind, Callable[[str], bool]] = {
    "e-mail address": _has(_EMAIL),
    "mobile number": _has(_MOBILE),
    "telephone number": _has(_LANDLINE),
    "resident ID": _has_resident_id,
    "bank card": _has_card,
    "plate number": _has(_PLATE),
    "account": _has(_ACCOUNT),
}
