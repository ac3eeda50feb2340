"""Which language an answer is in: whole sentences in many, and what has hardly any language."""

from __future__ import annotations

import subprocess
import sys

import pytest
from lingua import Language

from evaluation.answers.language import LANGUAGES, language_flag

pytestmark = pytest.mark.slow

SENTENCES = {
    "ar": "لديها ثلاث تفاحات وتجد خمسا أخرى، لذا فالجواب ثمانية.",
    "cs": "Má tři jablka a najde dalších pět, takže odpověď je osm.",
    "da": "Hun har tre æbler og finder fem mere, så svaret er otte.",
    "de": "Sie hat drei Äpfel und findet fünf weitere, also ist die Antwort acht.",
    "el": "Έχει τρία μήλα και βρίσκει άλλα πέντε, άρα η απάντηση είναι οκτώ.",
    "en": "She has three apples and finds five more, so the answer is eight.",
    "es": "Ella tiene tres manzanas y encuentra cinco más, así que la respuesta es ocho.",
    "fa": "او سه سیب دارد و پنج سیب دیگر پیدا می‌کند، پس پاسخ هشت است.",
    "fr": "Elle a trois pommes et en trouve cinq, donc la réponse est huit.",
    "hi": "उसके पास तीन सेब हैं और उसे पाँच और मिलते हैं, इसलिए उत्तर आठ है।",
    "id": "Dia punya tiga apel dan menemukan lima lagi, jadi jawabannya adalah delapan.",
    "it": "Ha tre mele e ne trova altre cinque, quindi la risposta è otto.",
    "ja": "彼女はりんごを三個持っていて、さらに五個見つけたので、答えは八個です。",
    "ko": "그녀는 사과 세 개를 가지고 있고 다섯 개를 더 찾았으므로 답은 여덟입니다.",
    "nl": "Ze heeft drie appels en vindt er nog vijf, dus het antwoord is acht.",
    "pt": "Ela tem três maçãs e encontra mais cinco, então a resposta é oito.",
    "ru": "У неё три яблока, и она находит ещё пять, значит, ответ восемь.",
    "sv": "Hon har tre äpplen och hittar fem till, så svaret är åtta.",
    "th": "เธอมีแอปเปิลสามลูกและพบอีกห้าลูก ดังนั้นคำตอบคือแปด",
    "tr": "Üç elması var ve beş tane daha buluyor, yani cevap sekiz.",
    "uk": "Вона має три яблука і знаходить ще п'ять, отже відповідь вісім.",
    "zh": "她有三个苹果，又找到五个，所以答案是八个。",
}


def test_a_sentence_is_in_its_language_and_in_no_other() -> None:
    for language, sentence in SENTENCES.items():
        for wanted in SENTENCES:
            expected = None if wanted == language else "other language"
            assert language_flag(sentence, wanted) == expected, (language, wanted)


@pytest.mark.parametrize(
    "text", ["22", "", "x = 7", "(B)", r"$\frac{1}{2}$", "7 km", "3.5 %", "https://a.example/page"]
)
@pytest.mark.parametrize("wanted", ["ja", "de", "th"])
def test_numbers_formulas_options_and_units_have_no_language(text: str, wanted: str) -> None:
    assert language_flag(text, wanted) == "no language"


@pytest.mark.parametrize(
    "text",
    [
        "東京",  # Chinese characters alone are Japanese, too ...
        "時々",
        "二十二",
        "ﾘﾝｺﾞ",
        "答え：22",
        "みあ は りんご 十七 五 みつける 二十二",
        "計算すると、3+4=7 なので、Answer は 7 です。",
        r"まず \sin x と \cos x を計算すると x+y=7 となり、Python では print(x) です",
    ],
)
def test_japanese_with_numbers_formulas_and_loan_words_is_japanese(text: str) -> None:
    assert language_flag(text, "ja") is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is りんご",
        "First we add 3 and 4, りんご is apple in Japanese, so the final answer is 7.",
        "Paris",
        "ＡＮＳＷＥＲ ＩＳ",
        "答案是二十二，因为三加四等于七再加十五等于二十二",  # ... but not for a whole sentence
        "정답은 22",
    ],
)
def test_another_language_is_not_japanese_for_a_word_or_a_shared_script(text: str) -> None:
    assert language_flag(text, "ja") == "other language"


def test_single_words_are_judged_by_their_script_alone() -> None:
    assert language_flag("Paris", "de") is None
    assert language_flag("Paris", "ru") == "other language"
    assert language_flag("Да, конечно", "ru") is None


def test_the_languages_are_those_that_the_detector_knows() -> None:
    assert set(LANGUAGES) == {language.iso_code_639_1.name.lower() for language in Language.all()}


def test_the_detector_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, evaluation.answers.language, bot.watchlist.watchlist; print('lingua' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
