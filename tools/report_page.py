"""The report as one HTML page: no script, nothing from elsewhere. It is XML
too, so that a test can read it as such."""

import re
from html import escape

from svg import STYLE

LOOK = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55
system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
main{max-width:1190px;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.01em}
h2{font-size:1.3rem;line-height:1.3;margin:3.2rem 0 .5rem;padding-top:.9rem;
border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.8rem 0 .3rem}
p,ul,figcaption{max-width:44rem}
.lead,.soft,figcaption,td.soft{color:var(--soft)}
.lead{margin:0 0 1.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;
font-size:.875rem;margin:1.2rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
ul.findings{padding-left:1.1rem}.findings li{margin:.35rem 0}
b{font-weight:650;font-variant-numeric:tabular-nums}
figure{margin:1.2rem 0 0}
figcaption{font-size:.875rem;margin:.7rem 0}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,
330px),1fr));gap:1.6rem 1.4rem}
.panels svg{width:100%;max-width:470px;height:auto;display:block}
.wide svg{width:100%;max-width:900px;height:auto;display:block}
.narrow{display:none}
.narrow svg{width:100%;height:auto;display:block}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--soft);
font-size:.875rem}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.8125rem;line-height:1.35;
font-variant-numeric:tabular-nums}
th,td{padding:.28rem .7rem;text-align:right;vertical-align:top;
border-bottom:1px solid var(--grid);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0;
white-space:normal;min-width:12rem}
td:last-child{white-space:normal}
thead th{color:var(--soft);font-weight:500;vertical-align:bottom}
tbody th{font-weight:600;padding-top:.9rem}
.missed{color:var(--bad);font-weight:650}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
overflow-wrap:anywhere}
.none{border-left:3px solid var(--grid);padding:.2rem 0 .2rem .9rem;
color:var(--soft)}
@media (max-width:640px){.wide{display:none}.narrow{display:block}
main{padding:1.5rem 1rem 3rem}h1{font-size:1.6rem}
th,td{padding:.28rem .45rem}th:first-child,td:first-child{min-width:7.5rem}}
@media print{body{font-size:10pt}main{max-width:none;padding:0}
h1{font-size:17pt}h2{font-size:13pt;margin-top:1.4rem}h2,h3,section>p{
break-after:avoid}svg,tr,figcaption{break-inside:avoid}figcaption{
break-before:avoid;font-size:9pt}
details::details-content{content-visibility:visible;display:block}
summary{display:none}.scroll{overflow:visible}table{font-size:7.5pt}
.panels{grid-template-columns:1fr 1fr}}
"""


def prose(text):
    """Escaped; *this* stands out, `this` is typed."""
    text = re.sub(r"\*([^*]+)\*", r"<b>\1</b>", escape(text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def paragraph(text, class_=""):
    class_ = f' class="{class_}"' if class_ else ""
    return f"<p{class_}>{prose(text)}</p>"


def heading(words):
    """Of a part of a section."""
    return f"<h3>{escape(words)}</h3>"


def bullets(texts):
    return '<ul class="findings">' + "".join(
        f"<li>{prose(t)}</li>" for t in texts) + "</ul>"


def absent(what, command):
    """In the place of a figure that has no rows."""
    return paragraph(f"Not measured here: {what}. `{command}` measures it.",
                     "none")


def _cell(words, tag="td"):
    missed = words.endswith("!")
    class_ = ' class="missed"' if missed else ""
    return f"<{tag}{class_}>{escape(words.removesuffix('!'))}</{tag}>"


def table(head, groups, label):
    """@groups: [(heading or "", rows)]; a cell that ends in ! was missed. A
    column without a figure is left out."""
    kept = [i for i in range(len(head)) if any(
        row[i] != "-" for _, rows in groups for row in rows)]
    head = [head[i] for i in kept]
    groups = [(heading, [[row[i] for i in kept] for row in rows])
              for heading, rows in groups]
    parts = [f'<div class="scroll" tabindex="0" role="region" '
             f'aria-label="{escape(label)}"><table><thead><tr>']
    parts += [f'<th scope="col">{escape(h)}</th>' for h in head]
    parts.append("</tr></thead>")
    for heading, rows in groups:
        parts.append("<tbody>")
        if heading:
            parts.append(f'<tr><th colspan="{len(head)}" scope="rowgroup">'
                         f"{escape(heading)}</th></tr>")
        parts += ["<tr>" + "".join(_cell(c) for c in row) + "</tr>"
                  for row in rows]
        parts.append("</tbody>")
    return "".join([*parts, "</table></div>"])


def details(summary, inner):
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def figure(charts, caption, inner=""):
    return '<figure><div class="panels">' + "".join(
        c.svg() for c in charts) + \
        f"</div><figcaption>{prose(caption)}</figcaption>{inner}</figure>"


def figure_twice(draw, caption, inner="", widths=(360, 760)):
    """@draw(width): once for a phone, once for a page."""
    narrow, wide = (draw(w).svg() for w in widths)
    return f'<figure><div class="narrow">{narrow}</div><div class="wide">' \
        f"{wide}</div><figcaption>{prose(caption)}</figcaption>{inner}" \
        "</figure>"


def section(title, *parts):
    return f"<section><h2>{escape(title)}</h2>" + "\n".join(
        p for p in parts if p) + "</section>"


def facts(pairs):
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>"
                            for k, v in pairs) + "</dl>"


def page(title, parts):
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>{escape(title)}</title>
<style>{STYLE}{LOOK}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
