import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.personal import Personal, is_resident_id, passes_luhn
from filters.text import measure

ALL = Personal()


def found(text: str, one: Personal = ALL) -> str | None:
    detail: str | None = one.rejects(measure(pa.array([text]))).to_pylist()[0]
    return detail and detail.removesuffix("; none may be there")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Contact seller12@example.com for more photos", "e-mail address"),
        ("邮箱ｓｅｌｌｅｒ＠ｅｘａｍｐｌｅ.com联系", "e-mail address"),
        ("write to bob [at] example.org", "e-mail address"),
        ("特价批发联系电话13912345678微信同号", "mobile number"),
        ("电话１３９１２３４５６７８", "mobile number"),
        ("tel +86 139-1234-5678", "mobile number"),
        ("call 139 1234 5678 now", "mobile number"),
        ("手机139－1234－5678", "mobile number"),
        ("手机139 12345678", "mobile number"),
        ("电话（010）62345678", "telephone number"),
        ("电话(0755)6234567", "telephone number"),
        ("电话０２１－６２３４５６７８", "telephone number"),
        ("电话010-6234-5678", "telephone number"),
        ("tel +86-10-62345678", "telephone number"),
        ("热线400-8888-888", "telephone number"),
        ("热线400-820-8820", "telephone number"),
        ("身份证 110105 19491231 002X", "resident ID"),
        ("邮箱ｓｅｌｌｅｒ＠ｅｘａｍｐｌｅ．ｃｏｍ", "e-mail address"),
        ("bob(at)example[dot]org", "e-mail address"),
        ("a.b.c@mail.example.co.uk", "e-mail address"),
        ("皮卡粤Z1234港过关", "plate number"),
        ("粤B-12345出售", "plate number"),
        ("订座电话010-62345678", "telephone number"),
        ("Computer Repair 402-505-6600", "telephone number"),
        ("call (402) 505-6600 today", "telephone number"),
        ("本人身份证号11010519491231002X请核对", "resident ID"),
        ("本人身份证号11010519491231002x请核对", "resident ID"),
        ("卡号4111111111111111转账", "bank card"),
        ("卡号 4111 1111 1111 1111", "bank card"),
        ("出售车牌粤B12345的车", "plate number"),
        ("京A·8B612停在路边", "plate number"),
        ("粤BD12345新能源", "plate number"),
        ("车牌号新AD8X2K", "plate number"),
        ("加微信abc_12345看图", "account"),
        ("微信号：shoes888", "account"),
        ("QQ：123456 批发", "account"),
        ("QQ群1234567", "account"),
    ],
)
def test_personal_data_is_found_and_not_shown(text: str, kind: str) -> None:
    assert found(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "icon@2x.png for the home screen",
        "viewed 3 times @Example.com gallery",
        "条码6901234567892的商品",  # a digit short of a card, not a mobile number either
        "订单2391234567812345号",
        "订单139123456789号",  # twelve digits
        "身份证号110105194912310021样例",  # wrong check digit
        "卡号4111111111111112",
        "1920x1080 wallpaper 2560 1440",
        "黑BMW320i轿车",
        "新A4纸100张",
        "新BMW320轿车",
        "微信iphone客户端",
        "qq2019官方下载",
        "圆周率3.14159265358979",
        "1997-2004 Corvette C5 Z06",
        "人民币2000-3000元",
        "货号(010)2345",
        "川A1234号展位",
        "身份证 110105 19491231 0021",
        "meet me (at) home . now",
    ],
)
def test_other_numbers_and_names_stay(text: str) -> None:
    assert found(text) is None


def test_only_the_kinds_that_are_asked_for() -> None:
    assert found("电话13912345678", Personal(kinds=("e-mail address",))) is None
    assert found("电话13912345678 a@example.com") == "e-mail address, mobile number"


@given(st.text("0123456789", min_size=17, max_size=17))
def test_one_check_digit_in_eleven_is_right(body: str) -> None:
    assert sum(is_resident_id(body + digit) for digit in "0123456789X") == 1


@given(st.text("0123456789", min_size=15, max_size=18))
def test_one_luhn_digit_in_ten_is_right(body: str) -> None:
    assert sum(passes_luhn(body + digit) for digit in "0123456789") == 1


def test_known_card_numbers_pass() -> None:
    assert passes_luhn("79927398713")
    assert passes_luhn("5500005555555559")
    assert not passes_luhn("79927398710")


@pytest.mark.parametrize(
    "piece", ["a", "a.", "a@", "@a.", "1", "1-", "139 ", "010-", "4111 ", "粤B", "微信", "QQ:", "(at)"]
)
def test_long_texts_take_no_time(piece: str) -> None:
    assert found(piece * (60_000 // len(piece)) + "@") is None
