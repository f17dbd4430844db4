"""A question as the stand-in model's rules read it: in one spelling, without politeness.

The rules match a whole question or nothing: a word that nobody accounted for may change what is asked.
"""

from __future__ import annotations

import re

FILES_HEADLINE = "\n\nFiles in /mnt/data:"
_CHARACTERS_MAX = 20_000
# The typographic apostrophe and minus.
_SPELLINGS = str.maketrans({"\u2019": "'", "\u2212": "-"})
_THOUSANDS = re.compile(r"(?<![\w.,])[0-9]{1,3}(?:,[0-9]{3})+(?!\w|,[0-9])")
_OPENINGS = (
    "please|hi|hello|hey|can you|could you|would you|tell me|give me|show me|i want to know|what is|what's|whats|"
    "what are|which are|how much is|calculate|compute|find|work out|evaluate|solve|print|list|"
    "the result of|the value of|the answer to"
)
_OPENING = re.compile(rf"(?:(?:{_OPENINGS})(?:[,:]? |: ?))*")
_ENDINGS = ("please", "for me", "thanks", "thank you")


def without_files(message: str) -> str:
    """A message without the list of files that the app appends to it."""
    return message.partition(FILES_HEADLINE)[0]


def plain_question(message: str) -> str:
    """The question in lower case and on one line, bare of what does not change it.

    `Please, what is 1,234 + 1?` becomes `1234 + 1`. A question too long for a rule becomes empty.
    """
    text = without_files(message)
    if len(text) > _CHARACTERS_MAX:
        return ""
    text = " ".join(text.lower().translate(_SPELLINGS).split())
    text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    opening = _OPENING.match(text)
    return _without_ending(text[opening.end() :] if opening else text)


def has_only(text: str, words: str) -> bool:
    """Whether a text has no other words than these; commas and colons count for nothing."""
    return set(re.findall(r"[^\s,:]+", text)) <= set(words.split())


def plain_number(digits: str) -> str:
    """A number as Python writes it, which allows no leading zeros."""
    return re.sub(r"^(-?)0+(?=[0-9])", r"\1", digits)


def _without_ending(text: str) -> str:
    text = text.rstrip(" ?.=")
    for ending in _ENDINGS:
        text = text.removesuffix(f" {ending}").rstrip(" ,?.")
    # Behind a number or a bracket it is no excitement but a factorial.
    bare = text.rstrip("!")
    return text if re.search(r"[0-9)]$", bare) else bare.rstrip(" ?.")
