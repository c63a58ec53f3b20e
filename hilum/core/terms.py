"""Terms of data and weights: their order from free to strict, what they ask for, and what forbids making them public.

Terms are written as one licence, or as several that all apply, joined by "; ". This is a rule of caution for a program,
not legal advice: whether weights are made from the data in the sense of a licence is not settled everywhere, and Hilum
takes it that they are.
"""

import re

ORDER = ("public domain", "attribution", "share-alike", "non-commercial", "no derivatives", "research", "unknown")
# From what asks for least to what allows least.
PUBLIC = ORDER[:4]
# These may be made public under their conditions. What came from data whose terms forbid derivatives may not, nor what
# came from data for research only or of unknown terms.
_KNOWN = {
    "public domain": r"cc0( 1\.0)?|pddl( 1\.0)?|public domain|unlicense",
    "attribution": r"cc by( [1-4]\.\d)?|odc by( 1\.0)?|apache( license)?( version)? 2\.0|mit|bsd( [23] clause)?",
    "share-alike": r"cc by sa( [1-4]\.\d)?|odbl( 1\.0)?",
    "non-commercial": r"cc by nc( sa)?( [1-4]\.\d)?",
    "no derivatives": r"cc by( nc)? nd( [1-4]\.\d)?",
    "research": r"(.* )?(research|academic)( .*)?",
}
# Whole terms only: "CC BY 4.0 with exceptions" is none of these and so unknown.
_ASKED = {
    "public domain": "asks for nothing",
    "attribution": "name its source and these terms with the weights",
    "share-alike": "name its source, and hand the weights on under these terms only",
    "non-commercial": "name its source, and use the weights and hand them on for no commercial purpose",
}


def parts(terms: str) -> list[str]:
    """Every licence that applies, as written; ["unknown"] where nothing is written."""
    return [part.strip() for part in terms.split(";") if part.strip()] or ["unknown"]


def inherited(*terms: str) -> str:
    """The terms of what was made from several sources: all of them together, each once, joined by "; ".

    All of them go on applying, so nothing is dropped but what asks for nothing, beside others; "unknown" stays, and a
    source that says nothing is unknown. One licence spelt in two ways is one, as it was written first.
    """
    named = [part for text in terms for part in parts(text)]
    once = list({_words(part): part for part in reversed(named)}.values())[::-1]
    return "; ".join([p for p in once if kind(p) != "public domain"] or once) or "unknown"


def kind(part: str) -> str:
    """One of ORDER for one licence; capitals, spaces, hyphens, underscores and commas make no difference."""
    words = _words(part)
    return next((name for name, pattern in _KNOWN.items() if re.fullmatch(pattern, words)), "unknown")


def strictest(terms: str) -> str:
    """The kind among those that apply that allows least."""
    return max((kind(part) for part in parts(terms)), key=ORDER.index)


def conditions(terms: str) -> list[str]:
    """What each licence that applies asks of whoever makes the weights public, one sentence each."""
    found = []
    for part in parts(terms):
        words = _ASKED.get(kind(part), "allows no publication that Hilum knows of")
        if kind(part) == "non-commercial" and _shared_alike(part):
            words += ", under these terms only"
        found.append(f"{part}: {words}.")
    return found


def objection(terms: str) -> str | None:
    """Why a model under these terms may not be made public, without a full stop; None where it may.

    Terms that ask for themselves only (share-alike) stand together with attribution and with freer terms of their own
    kind, and with no others.
    """
    named = parts(terms)
    for part in named:
        if kind(part) == "unknown":
            return "the terms are unknown" if part == "unknown" else f"{part!r} is not a licence that Hilum knows"
        if kind(part) == "research":
            return f"{part!r} allows research only"
        if kind(part) == "no derivatives":
            return f"{part!r} does not allow what was made from it to be handed on"
    for alike in filter(_shared_alike, named):
        free = {"public domain", "attribution", kind(alike)}
        for other in named:
            if _words(other) != _words(alike) and (_shared_alike(other) or kind(other) not in free):
                return f"{alike!r} asks for its own terms and no others, which {other!r} does not allow"
    return None


def _words(part: str) -> str:
    return " ".join(re.split(r"[\s_,-]+", part.strip().lower()))


def _shared_alike(part: str) -> bool:
    """Whether what is made from it must carry the same terms."""
    return kind(part) == "share-alike" or (kind(part) == "non-commercial" and "sa" in _words(part).split())
