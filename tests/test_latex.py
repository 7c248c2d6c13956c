"""Tables in LaTeX: what a text means there it does not do, and it compiles."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lens_steer.reports import latex_table

MARKS = "& % $ # _ { } \\ ~ ^ < > |"
NASTY = (
    MARKS,
    "[mine]",
    "*starred",
    r"\input{secret} \\ \hline",
    "50 % & more",
    "a_b^c{d}#1",
    "$x < y$",
    "two\nlines",
    "judge #2_v1.safetensors",
)
# As the manual of LaTeX writes each mark of a text (Lamport, section 2.2.1 and table 3.3).
WRITTEN = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$",
}  # fmt: skip


def test_every_mark_is_escaped_once() -> None:
    for mark, written in WRITTEN.items():
        line = latex_table(["a"], [[f"x{mark}y"]], []).splitlines()[4]
        assert line == rf"x{written}y \\"
    assert latex_table(["a"], [["plain, text: 1.0 (+2) - 'so'"]], []).splitlines()[4] == (
        r"plain, text: 1.0 (+2) - 'so' \\"
    )


def test_a_row_is_a_line_of_as_many_cells_as_columns() -> None:
    rows = [[text, "0.5", text] for text in NASTY]
    lines = latex_table(["name & kind", "b", "c"], rows, ["note\n\\end{x}", "50 %"]).splitlines()
    assert lines[:2] == [r"% note \end{x}", "% 50 %"]
    assert lines[2] == r"\begin{tabular}{lll}"
    assert lines[-1] == r"\end{tabular}"
    table = [line for line in lines[3:-1] if line != r"\hline"]
    assert len(table) == 1 + len(NASTY)
    for line in table:
        assert line.endswith(r" \\")
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        assert len(cells) == 3
        assert not re.search(r"(?<!\\)[%#_]", line)
        assert line[0] not in "[*"  # it would belong to the end of the row before


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_nasty_texts_compile(tmp_path: Path) -> None:
    table = latex_table(["a", "b"], [[text, text] for text in NASTY], list(NASTY))
    page = f"\\documentclass{{article}}\n\\begin{{document}}\n{table}\\end{{document}}\n"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 0
