"""The things of the world that is seen: their words in two languages, and how they are drawn.

A drawing has eight rows of eight places. A letter is a colour of PALETTE, and a point is transparent.
"""

from __future__ import annotations

PALETTE = {
    "r": (214, 48, 49),
    "o": (240, 140, 40),
    "y": (245, 210, 60),
    "g": (46, 160, 67),
    "b": (52, 110, 220),
    "c": (120, 200, 235),
    "p": (220, 110, 190),
    "v": (140, 80, 190),
    "n": (140, 90, 50),
    "w": (240, 240, 240),
    "a": (150, 150, 160),
}
"""Letter → red, green and blue."""

THINGS = (
    ("sun", "たいよう", "y..yy..y ..yyyy.. .yyyyyy. yyyyyyyy yyyyyyyy .yyyyyy. ..yyyy.. y..yy..y"),
    ("tree", "き", "...gg... ..gggg.. ..gggg.. .gggggg. .gggggg. gggggggg ...nn... ...nn..."),
    ("house", "いえ", "...rr... ..rrrr.. .rrrrrr. rrrrrrrr .wwwwww. .wwbbww. .wwwwnw. .wwwwnw."),
    ("fish", "さかな", "........ ...oo..o ..oooooo .owooooo .ooooooo ..oooooo ...oo..o ........"),
    ("star", "ほし", "...ww... ...ww... wwwwwwww .wwwwww. ..wwww.. .wwwwww. .ww..ww. ww....ww"),
    ("boat", "ふね", "....w... ....ww.. ....www. ....wwww ....n... nnnnnnnn .nnnnnn. ..nnnn.."),
    ("flower", "はな", "..pppp.. .ppyypp. .ppyypp. ..pppp.. ...gg... .g.gg.g. ..gggg.. ...gg..."),
    ("key", "かぎ", ".yyy.... y...y... y...yyyy y...yyyy .yyy..y. ......y. ........ ........"),
    ("moon", "つき", "..yyy... .yyy.... yyy..... yyy..... yyy..... yyyy...y .yyyyyy. ..yyyy.."),
    ("cloud", "くも", "........ ...www.. ..wwwww. .wwwwwww wwwwwwww wwwwwwww ........ ........"),
    ("heart", "こころ", ".rr..rr. rrrrrrrr rrrrrrrr rrrrrrrr .rrrrrr. ..rrrr.. ...rr... ........"),
    ("bird", "とり", "........ .bb..... obbb.... .bbbb.bb ..bbbbb. ..bbbb.. ...bb... ...oo..."),
    ("cup", "こっぷ", "........ cccccc.. ccccccc. cccccc.c cccccc.c ccccccc. .cccc... ........"),
    ("hat", "ぼうし", "........ ..vvvv.. ..vvvv.. ..vvvv.. ..wwww.. vvvvvvvv vvvvvvvv ........"),
    ("apple", "りんご", "....n... ...ng... .rrrrrr. rrwrrrrr rrrrrrrr rrrrrrrr .rrrrrr. ..rrrr.."),
    ("bell", "すず", "...aa... ..aaaa.. ..aaaa.. .aaaaaa. .aaaaaa. aaaaaaaa ...aa... ........"),
)
"""Each thing's word in the first language, in the second, and its drawing row by row."""
