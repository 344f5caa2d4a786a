"""The parts of an answer in which a model thinks aloud: no draft in them is what it wants."""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Sequence
from typing import Final

# No pattern here goes over more than a line: one that looks for the end of a block would read a
# hostile answer of many beginnings and no end for hours, and nothing can interrupt it.
# A thought begins a line, as no text inside of JSON does.
#: How thoughts begin and end, by model: DeepSeek, Qwen and many others; Magistral; Kimi; gpt-oss,
#: whose last channel ends what it thought in the one before.
_TAGS: Final = re.compile(
    r"(?:^[ \t]*<(?P<word>think|thinking|thought|reasoning)>"
    r"|</(?P<word_end>think|thinking|thought|reasoning)>"
    r"|^[ \t]*\[(?P<square>THINK)\]|\[/(?P<square_end>THINK)\]"
    r"|^[ \t]*◁(?P<triangle>think)▷|◁/(?P<triangle_end>think)▷"
    r"|<\|channel\|>(?P<channel>analysis)<\|message\|>"
    r"|<\|channel\|>(?P<channel_end>final)(?: [^<|\n]{0,80})?<\|message\|>)",
    re.I | re.M,
)

#: A part of a text, as a slice of it.
Span = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thoughts:
    """Where a text thinks, in order."""

    spans: tuple[Span, ...]
    #: Where a thought begins that has no end; None when all have one.
    open_at: int | None

    def hold(self, span: Span) -> bool:
        """Return whether a part lies in a thought that has an end."""
        place = bisect.bisect_right(self.spans, span[0], key=lambda thought: thought[0]) - 1
        return place >= 0 and span[1] <= self.spans[place][1]


def find(text: str, literal: Sequence[Span]) -> Thoughts:
    """Return where a text thinks; tags in its ``literal`` parts, in order, are none.

    Templates of some models put the first tag into the prompt: an end without a beginning closes
    all that stands before it.
    """
    spans: list[Span] = []
    opened: tuple[int, str] | None = None
    part = 0
    for tag in _TAGS.finditer(text):
        while part < len(literal) and literal[part][1] <= tag.start():
            part += 1
        if part < len(literal) and literal[part][0] <= tag.start():
            continue
        name = tag.lastgroup or ""
        kind = f"{name.removesuffix('_end')}:{tag[name].lower() if 'word' in name else ''}"
        if not name.endswith("_end"):
            opened = opened or (tag.start(), kind)
        elif opened is None:
            spans = [(0, tag.end())]
        elif opened[1] == kind:
            spans.append((opened[0], tag.end()))
            opened = None
    return Thoughts(spans=tuple(spans), open_at=None if opened is None else opened[0])
