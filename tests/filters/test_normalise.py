import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.normalise import _INVISIBLE, matching, normalise, simplified

# pieces that can combine into something that a later pass has to see
PIECES = st.sampled_from(
    [
        "&",
        "am",
        "p;",
        "amp;",
        "#38;",
        "lt;",
        "nbsp;",
        "\u200b",
        "\u3000",
        "\xa0",
        " ",
        "图",
        "図",
        "薴",
        "，",
        "Ａ",
        "１",
        "乾",
        "隆",
        "Ã",
        "©",
        "â",
        "€",
        "™",
        "e",
        "\u0301",
        "\ufeff",
        "\x00",
        "\x85",
        "の",
        "한",
        "&#x200b;",
        "ä¸\xad",
    ]
)


@given(st.text() | st.lists(PIECES, max_size=12).map("".join))
def test_normalising_twice_changes_nothing(raw: str) -> None:
    once = normalise(raw)
    assert normalise(once) == once
    assert once == once.strip()
    assert "  " not in once
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("raw", "norm"),
    [
        ("１２３Ａ　，。", "123A ，。"),  # NFKC would give a comma of ASCII
        ("“引号”《书名》…（甲）", "“引号”《书名》…（甲）"),
        ("A dog&nbsp;&amp;\u00a0a cat", "A dog & a cat"),
        ("&amp;amp;lt;b", "<b"),
        ("&am\u200bp;lt;", "<"),
        ("AT&T &copy 2020, salt&pepper", "AT&T &copy 2020, salt&pepper"),
        ("\ufeff两只狗 在草地\u3000上\u202e\u202c", "两只狗在草地上"),
        ("红色 iPhone 手机", "红色 iPhone 手机"),
        ("한국어 문장", "한국어 문장"),
        ("tab\tand\r\nline", "tab and line"),
        ("Cafe\u0301", "Café"),
        ("一個小女孩在公園裡騎著紅色的自行車", "一个小女孩在公园里骑著红色的自行车"),
        ("乾隆皇帝 乾燥 滑鼠", "乾隆皇帝干燥滑鼠"),  # by phrase, and the words stay
        ("ISO and iPhone", "ISO and iPhone"),
        ("", ""),
        ("&nbsp; \u200b", ""),
    ],
)
def test_one_spelling_for_one_text(raw: str, norm: str) -> None:
    assert normalise(raw) == norm


@pytest.mark.parametrize("meant", ["中国一只狗", "Café crème", "25 °C", "naïve – it’s"])
def test_utf8_read_as_windows_1252_is_read_again(meant: str) -> None:
    seen = "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in meant.encode()
    )
    assert seen != meant
    assert normalise(seen) == meant


@pytest.mark.parametrize("text", ["CAFÉ’S", "RÉSUMÉ", "le café’”", "Ârvore", "SÃO PAULO", "über Ãœ und mehr — 你好"])
def test_what_only_looks_like_mojibake_stays(text: str) -> None:
    assert normalise(text) == text


def test_every_han_character_comes_to_rest() -> None:
    for code in (*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000)):
        norm = normalise(chr(code))
        assert normalise(norm) == norm


def test_all_control_format_and_surrogate_characters_are_invisible() -> None:
    kinds = {"Cc", "Cf", "Cs"}
    unseen = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in kinds and not c.isspace()]
    assert [hex(ord(c)) for c in unseen if not _INVISIBLE.match(c)] == []


def test_lists_match_without_case_and_script() -> None:
    assert matching("The 臺灣 MAP") == "the 台湾 map"
    assert simplified("plain") == "plain"


def test_many_times_escaped_text_takes_no_time() -> None:
    assert normalise("&" + "amp;" * 200_000 + "lt;") == "<"
