"""Charts as SVG: scales and their ticks, axes, lines with direct labels, bars,
bands. Text and numbers only; what to show is decided elsewhere.

A chart is drawn at the size it is read at, so that 11 pixels of text stay 11.
Colours are names of STYLE's, which has a light and a dark scheme; a series has
a colour, a shape and a dash, so that no two differ by colour alone.
"""

import math
from xml.sax.saxutils import escape, quoteattr

SERIES = 4                      # how many STYLE has colours for
STYLE = """
:root{--ink:#1b1f24;--soft:#59636e;--grid:#e3e6ea;--paper:#fff;--fill:#eef1f4;
--c0:#005fa3;--c1:#b54800;--c2:#8a3a86;--c3:#00705a;--bad:#a3161f;
color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3acb6;
--grid:#2e353d;--paper:#14171b;--fill:#1f242a;--c0:#62b5f5;--c1:#ff9d5c;
--c2:#e39add;--c3:#4bcfa6;--bad:#ff8a8f}}
@media print{:root{--ink:#000;--soft:#444;--grid:#ddd;--paper:#fff;
--fill:#f0f0f0;--c0:#005fa3;--c1:#b54800;--c2:#8a3a86;--c3:#00705a;
--bad:#a3161f;color-scheme:light}}
svg.chart{font:11px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,
sans-serif;font-variant-numeric:tabular-nums;fill:var(--ink);overflow:visible}
.chart .name{font-weight:600}
.chart .soft,.chart .value{fill:var(--soft)}.chart .soft{font-weight:400}
.chart .name,.chart .value{paint-order:stroke;stroke:var(--paper);
stroke-width:3px;stroke-linejoin:round}
.chart .head{font-weight:600;font-size:12px}
.chart .grid{stroke:var(--grid);stroke-width:1}
.chart .axis{stroke:var(--soft);stroke-width:1}
.chart .goal{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.chart .band{fill:var(--fill)}
.chart .line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.chart .hollow{fill:var(--paper);stroke-width:1.5}
.chart .ink{stroke:var(--ink);stroke-width:1.5;fill:var(--paper)}
.chart .f0{fill:var(--c0)}.chart .f1{fill:var(--c1)}.chart .f2{fill:var(--c2)}
.chart .f3{fill:var(--c3)}.chart .fbad{fill:var(--bad)}
.chart .s0{stroke:var(--c0);stroke-width:2.4}.chart .s1{stroke:var(--c1)}
.chart .s2{stroke:var(--c2)}.chart .s3{stroke:var(--c3)}
.chart .pale{opacity:.3}
"""
WIDE_LETTER = 6                 # pixels a letter of a name takes, or less
DASHES = ["", "6 3", "2 2.5", "9 3 2 3"]


def number(value):
    """A coordinate: a tenth of a pixel is enough."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def short(value):
    """As an axis says it: 0.5, 60, 2k, 1.5M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def element(name, text=None, **attributes):
    """One element. font_size= is font-size=, class_= is class=."""
    words = "".join(
        f" {key.rstrip('_').replace('_', '-')}="
        + quoteattr(number(v) if isinstance(v, (int, float)) else v)
        for key, v in attributes.items() if v not in (None, ""))
    if text is None:
        return f"<{name}{words}/>"
    return f"<{name}{words}>{escape(text)}</{name}>"


class Log:
    """A scale of whole decades that hold @values, on pixels @start..@end."""

    def __init__(self, values, start, end):
        values = [v for v in values if v > 0] or [1]
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(self.low + 1,
                        math.ceil(math.log10(max(values)) - 1e-9))
        self.start, self.end = start, end

    def has(self, value):
        return 10 ** self.low <= value * (1 + 1e-9) \
            and value <= 10 ** self.high * (1 + 1e-9)

    def __call__(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self):
        """The powers of ten."""
        return [10.0 ** e for e in range(self.low, self.high + 1)]

    def minor(self):
        """2 to 9 times those, while there is room."""
        if self.high - self.low > 5:
            return []
        return [m * 10.0 ** e for e in range(self.low, self.high)
                for m in range(2, 10)]


class Linear:
    """A scale from 0 to a round number not below @values."""

    def __init__(self, values, start, end, wanted=5):
        top = max([v for v in values if v > 0], default=1)
        unit = 10 ** math.floor(math.log10(top / wanted))
        self.step = next(m * unit for m in (1, 2, 2.5, 5, 10)
                         if m * unit * wanted >= top * (1 - 1e-9))
        self.top = math.ceil(top / self.step - 1e-9) * self.step
        self.start, self.end = start, end

    def has(self, value):
        return 0 <= value <= self.top

    def __call__(self, value):
        return self.start + value / self.top * (self.end - self.start)

    def ticks(self):
        return [i * self.step for i in range(round(self.top / self.step) + 1)]

    def minor(self):
        return []


def spread(wanted, gap, low, high):
    """Places near those @wanted, @gap apart or more, from @low to @high where
    that can be: for the labels at the ends of lines."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    last = low - gap
    for i in order:
        last = places[i] = max(wanted[i], last + gap)
    last = high + gap
    for i in reversed(order):
        last = places[i] = min(places[i], last - gap)
    return places


class Chart:
    """Marks are drawn in the order they are added. @left and so on are the
    margins of the plot, in pixels."""

    count = 0                   # for ids, which a page has once each

    def __init__(self, width, height, title, description, left=44, right=12,
                 top=24, bottom=36):
        self.width, self.height = width, height
        self.title, self.description = title, description
        self.x0, self.x1 = left, width - right
        self.y0, self.y1 = height - bottom, top     # y grows downwards
        self.marks = []

    def add(self, name, text=None, **attributes):
        self.marks.append(element(name, text, **attributes))

    def text(self, x, y, words, class_="", anchor=None):
        self.add("text", words, x=x, y=y, class_=class_, text_anchor=anchor)

    def rule(self, x1, y1, x2, y2, class_):
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def heading(self, words):
        self.text(0, 12, words, "head")

    def x_axis(self, scale, title="", show=short, grid=False):
        for value in scale.minor():
            self.rule(scale(value), self.y0, scale(value), self.y0 + 2, "axis")
        for value in scale.ticks():
            x = scale(value)
            if grid:
                self.rule(x, self.y1, x, self.y0, "grid")
            self.rule(x, self.y0, x, self.y0 + 4, "axis")
            self.text(x, self.y0 + 15, show(value), "soft", "middle")
        self.rule(self.x0, self.y0, self.x1, self.y0, "axis")
        self.text((self.x0 + self.x1) / 2, self.y0 + 30, title, "soft",
                  "middle")

    def y_axis(self, scale, title="", show=short):
        """Its title stands above it, so that nobody tilts their head."""
        for value in scale.ticks():
            y = scale(value)
            self.rule(self.x0, y, self.x1, y, "grid")
            self.text(self.x0 - 6, y + 4, show(value), "soft", "end")
        self.text(0, self.y1 - 8, title, "soft")

    def mark(self, x, y, shape, class_):
        """A point: 0 a disc, 1 a square, 2 a triangle, 3 a diamond, x."""
        if shape == 0:
            self.add("circle", cx=x, cy=y, r=3.2, class_=class_)
            return
        if shape == "x":
            self.add("path", d=f"M{number(x - 3)} {number(y - 3)}l6 6m0-6l-6 6",
                     class_=class_, fill="none")
            return
        corners = {1: ((-3, -3), (3, -3), (3, 3), (-3, 3)),
                   2: ((0, -4), (4, 3), (-4, 3)),
                   3: ((0, -4.5), (4.5, 0), (0, 4.5), (-4.5, 0))}[shape]
        self.add("polygon", class_=class_, points=" ".join(
            f"{number(x + dx)},{number(y + dy)}" for dx, dy in corners))

    def line(self, points, series):
        """Through @points in pixels, each marked."""
        if len(points) > 1:
            self.add("path", class_=f"line s{series}",
                     stroke_dasharray=DASHES[series], d="M" + "L".join(
                         f"{number(x)} {number(y)}" for x, y in points))
        for x, y in points:
            self.mark(x, y, series, f"f{series}")

    def labels(self, ends, gap=13):
        """Names beside the ends of lines: [(x, y, words, class)]."""
        places = spread([y for _, y, _, _ in ends], gap, self.y1 + 2, self.y0)
        for (x, y, words, class_), place in zip(ends, places):
            if abs(place - y) > 3:
                self.rule(x + 5, y, x + 10, place, "goal")
            self.text(x + 12, place + 4, words, f"name {class_}")

    def key(self, names):
        """What is what, at the right above the plot: [(words, class of a bar,
        or of a line: s0 and so on, class of the words)]. What a mark is near
        to changes with the figures, so names beside marks would collide."""
        right = self.x1
        for words, mark, class_ in reversed(names):
            self.text(right, self.y1 - 10, words, f"name {class_}", "end")
            right -= WIDE_LETTER * len(words) + 16
            if mark.startswith("s"):
                self.add("path", class_=f"line {mark}", d=f"M{number(right)} "
                         f"{number(self.y1 - 10)}v-8h10v8")
            else:
                self.bar(right, self.y1 - 18, 10, 8, mark)
            right -= 14

    def bar(self, x, y, width, height, class_, words=None):
        """@words show when it is pointed at."""
        attributes = f'x="{number(x)}" y="{number(y)}" ' \
            f'width="{number(max(width, 0.5))}" height="{number(height)}"'
        inner = element("title", words) if words else ""
        self.marks.append(f"<rect {attributes} class={quoteattr(class_)}>"
                          f"{inner}</rect>")

    def goal(self, y, words):
        """What is asked for: a dotted line, named at its left end if at all."""
        self.rule(self.x0, y, self.x1, y, "goal")
        if words:
            self.text(self.x0 + 4, y - 4, words, "value")

    def svg(self, alone=False):
        """The text; @alone, as a file of its own."""
        Chart.count += 1
        name = f"chart{Chart.count}"
        head = '<svg xmlns="http://www.w3.org/2000/svg" class="chart" ' \
            f'viewBox="0 0 {self.width} {self.height}" role="img" ' \
            f'aria-labelledby="{name}t {name}d"'
        head += f' width="{self.width}" height="{self.height}">' if alone \
            else ">"
        parts = [head, element("title", self.title, id=f"{name}t"),
                 element("desc", self.description, id=f"{name}d")]
        if alone:
            parts += [f"<style>{STYLE}</style>", element(
                "rect", width="100%", height="100%", fill="var(--paper)")]
        return "\n".join([*parts, *self.marks, "</svg>"]) + "\n"


def beside(charts, title, description, gap=24):
    """Several charts in a row, as one file."""
    width = sum(c.width + gap for c in charts) + gap
    height = max((c.height for c in charts), default=0) + 2 * gap
    whole = Chart(width, height, title, description)
    x = gap
    for chart in charts:
        whole.marks.append(f'<g transform="translate({x},{gap})">')
        whole.marks += [*chart.marks, "</g>"]
        x += chart.width + gap
    return whole.svg(alone=True)
