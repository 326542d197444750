"""The look of every page that we write: its colours and type in one place, and a document that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape

# Text has 4.5:1 on paper and on raised, in both. The first two series are always training and validation.
COLOURS: Mapping[str, Mapping[str, str]] = {
    "light": {
        "paper": "#ffffff", "raised": "#f7f8fa", "ink": "#1b1f24", "muted": "#5b6472", "line": "#e3e6eb",
        "accent": "#2f6fed", "right": "#1a7f5a", "wrong": "#b8400e", "heat": "#b8400e",
        "training": "#0072b2", "validation": "#e69f00", "validation-text": "#8a5f00", "third": "#009e73",
    },
    "dark": {
        "paper": "#0f1216", "raised": "#171b21", "ink": "#e7eaee", "muted": "#9aa4b2", "line": "#2a3038",
        "accent": "#82a8ff", "right": "#5cc49a", "wrong": "#f0925f", "heat": "#f0925f",
        "training": "#56b4e9", "validation": "#f2bd4a", "validation-text": "#f2bd4a", "third": "#4cc9a0",
    },
}  # fmt: skip


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole page that fetches nothing. body, style and script are markup: whoever writes them has escaped names.

    Only this very script is allowed to run, by its digest: whatever else gets into the page as text stays text.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    policy += f"; script-src 'sha256-{digest}'" if script else ""
    return _DOCUMENT.format(
        title=escape(title),
        policy=policy,
        style=STYLE + style,
        body=body,
        script=f"<script>{script}</script>" if script else "",
    )


def figures(cells: Mapping[str, tuple[str, str]]) -> str:
    """A row of three or four figures. cells: by what each says, the figure and what is said below it in muted type."""
    return f"<div class=figures>{''.join(_figure(word, *cell) for word, cell in cells.items())}</div>"


def _figure(word: str, value: str, more: str) -> str:
    small = f"<small>{escape(more)}</small>" if more else ""
    return f"<div><b>{escape(value)}</b>{small}<span>{escape(word)}</span></div>"


def breakable(text: str) -> str:
    """A name, escaped, that may be broken after a slash or an underscore."""
    return escape(text).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _tokens(theme: str) -> str:
    return "; ".join(f"--{name}: {value}" for name, value in COLOURS[theme].items())


STYLE = f"""
:root {{ color-scheme: light; {_tokens("light")} }}
@media screen and (prefers-color-scheme: dark) {{
  :root:not([data-theme=light]) {{ color-scheme: dark; {_tokens("dark")} }} }}
@media screen {{ :root[data-theme=dark] {{ color-scheme: dark; {_tokens("dark")} }} }}
* {{ box-sizing: border-box }}
html {{ -webkit-text-size-adjust: 100% }}
body {{ margin: 0 auto; padding: 40px 24px 64px; max-width: 1080px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }}
h1 {{ font-size: 30px; line-height: 1.2; margin: 0 0 4px; font-weight: 650; overflow-wrap: anywhere }}
h2 {{ font-size: 22px; line-height: 1.3; margin: 52px 0 8px; font-weight: 600 }}
h3 {{ font-size: 15px; line-height: 1.4; margin: 24px 0 4px; font-weight: 600 }}
p {{ max-width: 72ch; margin: 0 0 14px }}
a {{ color: var(--accent); text-underline-offset: 2px }}
:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px }}
.verdict {{ font-size: 18px; color: var(--muted) }}
.muted {{ color: var(--muted) }}
.wrong {{ color: var(--wrong) }}
.right {{ color: var(--right) }}
.figures {{ display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0 0 }}
.figures div {{ background: var(--raised); border-radius: 10px; padding: 14px 20px; min-width: 108px }}
.figures b {{ display: inline-block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums }}
.figures small {{ color: var(--muted); font-size: 12.5px; margin-left: 6px; font-variant-numeric: tabular-nums }}
.figures span {{ display: block; color: var(--muted); font-size: 12.5px }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th {{ text-align: left; font-weight: 400; color: var(--muted); padding: 5px 24px 5px 0; white-space: nowrap }}
td {{ padding: 5px 0 }}
ul {{ margin: 0; padding-left: 20px; overflow-wrap: anywhere }}
code, pre {{ font: 13px/1.5 ui-monospace, monospace; background: var(--raised); border-radius: 6px; padding: 1px 5px }}
pre {{ padding: 12px 16px; overflow-x: auto }}
pre code {{ padding: 0; background: none }}
@media print {{ body {{ padding: 0; max-width: none; font-size: 11pt }} h2, h3 {{ break-after: avoid }}
  pre {{ white-space: pre-wrap }} }}
@media (max-width: 480px) {{ body {{ padding: 24px 16px 48px }} }}
"""

_DOCUMENT = """<!doctype html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<meta http-equiv=Content-Security-Policy content="{policy}">
<meta name=referrer content=no-referrer>
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
{script}
</body>
</html>
"""
