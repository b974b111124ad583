"""Check the written documents: relative links resolve, and no path of somebody's machine slipped in."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|work|Users/\w+|home/\w+)(?=/|\b)")


def documents() -> list[Path]:
    """Every document that a reader of the repository meets."""
    return sorted([*ROOT.glob("*.md"), ROOT / "NOTICE", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path, text: str) -> Iterator[str]:
    """Relative links that lead nowhere."""
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists():
            yield f"link to {target}, which does not exist"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8")):
            yield f"link to {target}: no such heading"


def machine_paths(text: str) -> Iterator[str]:
    """Paths that exist on the writer's machine only."""
    for match in MACHINE_PATH.finditer(text):
        yield f"path of one machine: {text[match.start() : match.start() + 40].splitlines()[0]}"


def main() -> int:
    """Print each problem with its document; the exit status says whether there was one."""
    problems = [
        f"{document.relative_to(ROOT)}: {problem}"
        for document in documents()
        for text in [document.read_text("utf-8")]
        for problem in [*broken_links(document, text), *machine_paths(text)]
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"docs: {len(documents())} documents hold")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
