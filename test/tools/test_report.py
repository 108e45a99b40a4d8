#!/usr/bin/env python3
"""The report: charts, what is refused, what the page says, and how a browser
shows it where there is one."""

import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
import zlib

from cases import Skip, case, check, check_in, folder, main, quire, raises

import report
import report_charts
import report_contents
import report_data
import report_time
import report_wakeup
import svg
from bench_tables import by_bench, grid
from errors import UserError

NAMES = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def kill_of(form, pattern, gfns, cost, **more):
    return {"bench": "destroy", "frames": "one", "pattern": pattern,
            "rmap": form, "cpus": 1, "gfns": gfns,
            "instructions_per_gfn": cost, "instructions_busy": cost * gfns,
            "instructions_total": cost * gfns, "instructions_longest": 9000} \
        | more


def skip_of(form, pattern, gfns):
    row = kill_of(form, pattern, gfns, 0)
    row = {k: v for k, v in row.items() if not k.startswith("instructions")}
    return row | {"skipped": "would take about 2.4e+10 instructions"}


def map_of(form, pattern, sharers, remove, size):
    return {"bench": "rmap", "pattern": pattern, "rmap": form,
            "sharers": sharers, "instructions_insert_mean": 91.5,
            "instructions_find_mean": 92.5,
            "instructions_remove_mean": remove, "instructions_worst": 2000,
            "bytes_per_sharer": size}


def woken(where, worst, idle):
    return {"bench": "wakeup", "frames": "one", "pattern": "random",
            "rmap": "adaptive", "cpus": 1, "gfns": 100_000, "kill": where,
            "instructions_beyond_idle": worst - idle,
            "instructions_worst": worst, "instructions_median": 6144,
            "instructions_worst_idle": idle, "instructions_median_idle": 3072,
            "count_wakeups": 1000, "count_wakeups_idle": 400,
            "count_delays": [[3072, 300], [6144, 600], [49_152, 100]],
            "count_delays_idle": [[3072, 390], [4096, 10]]}


TRACE = {"domain": 3, "cpu": 0, "start": 1000, "end": 61_000, "gfns": 777,
         "slices_total": 3, "slices_per_segment": 1,
         "stages": [{"stage": "pause", "start": 1000, "end": 1300,
                     "slices": 1, "longest": 300},
                    {"stage": "ram", "start": 1300, "end": 60_000,
                     "slices": 3, "longest": 11_234}],
         "slices": [[1000, 12_000], [20_000, 31_000], [50_000, 60_500]]}


def whole():
    """A document with something for each section."""
    rows = [kill_of(form, pattern, n, cost * k)
            for k, form in enumerate(report_charts.FORMS, 1)
            for pattern in ("dense", "random", "stride256")
            for n, cost in ((1000, 61.25), (10_000, 63.5), (100_000, 66.0))]
    rows += [kill_of("adaptive", "dense", 1_000_000, 54.75),
             skip_of("hash256", "stride256", 1_000_000)]
    rows += [map_of(form, "random", n, 100.5 * k, 4.0 * k)
             for k, form in enumerate(report_charts.FORMS, 1)
             for n in (1000, 100_000)]
    rows += [{"bench": "latency", "operation": name, "where": "here",
              "instructions_longest": n} for name, n in (
                  ("fork", 16_350), ("stats", 23_456), ("idle", 3800))]
    rows += [{"bench": "spte-rmap", "form": form, "order": order,
              "mappings": n, "instructions_add_mean": 29.0,
              "instructions_step_mean": 13.0,
              "instructions_remove_mean": 31.5 * k * n ** (k > 1),
              "bytes_links": 8192}
             for k, form in enumerate(report_charts.LINKS, 1)
             for order in report_charts.ORDERS for n in (1, 16, 100_000)]
    rows += [woken("on its CPU", 41_112, 3115), woken("on another CPU", 9123,
                                                      3115)]
    rows += [{"bench": "shadow", "guest": guest, "paging": paging,
              "instructions_total": n, "count_exits": exits}
             for guest, paging, n, exits in (
                 ("first", "nested", 100_000, 81),
                 ("first", "shadow", 150_000, 1834),
                 ("second", "nested", 1000, 0),
                 ("second", "shadow", 4250, 17))]
    rows += [{"bench": "host", "operation": "destroy", "rmap": "adaptive",
              "sharers": 1000, "nanoseconds_per_gfn": 16.25}]
    return {"bench": "all", "version": "0.1", "compiler": "gcc 12 <&>",
            "emulator": "QEMU 7.2", "unit": "instructions", "rows": rows,
            "kills": [TRACE]}


def page_of(*documents):
    results = report_data.Results()
    for document in documents:
        report_data.check("it", document)
        results.add(document)
    return report_contents.contents(results, "./quire report"), results


def text_of(page):
    """All that can be read in it, tables and charts."""
    root = xml.fromstring(page.partition("\n")[2])
    return " ".join(" ".join(root.itertext()).split())


@case
def ticks_of_scales():
    x = svg.Log([1000, 1_000_000], 0, 300)
    check(x.ticks() == [1e3, 1e4, 1e5, 1e6], str(x.ticks()))
    check([svg.short(t) for t in x.ticks()] == ["1k", "10k", "100k", "1M"])
    check(x(1000) == 0 and x(1_000_000) == 300)
    check(abs(x(math.sqrt(1e9)) - 150) < 1e-6, "the middle of decades")
    check(len(x.minor()) == 3 * 8 and 2000.0 in x.minor())
    check(svg.Log([3, 4], 0, 1).ticks() == [1.0, 10.0])
    check(svg.Log([1000], 0, 1).ticks() == [1e3, 1e4], "one value")
    check(svg.Log([], 0, 1).ticks() == [1.0, 10.0], "no value")
    check(svg.Log([0, 0.02], 0, 1).ticks()[0] == 0.01, "0 has no place")
    check(svg.Linear([19_000], 0, 1).ticks()[-1] == 20_000)
    check(svg.Linear([0], 0, 10)(0) == 0 and svg.Linear([], 0, 1).top == 1)
    for top in (1, 7, 16.3, 99, 1e9):
        y = svg.Linear([top], 0, 1)
        check(y.has(top) and 2 <= len(y.ticks()) <= 7, str(top))


@case
def labels_keep_their_distance():
    places = svg.spread([10, 11, 12, 100], 13, 0, 200)
    order = sorted(places)
    check(all(b - a >= 13 for a, b in zip(order, order[1:])), str(places))
    check(places[3] == 100, "what is free stays")
    check(min(places) >= 0, "within the chart")
    check(max(svg.spread([199, 200], 13, 0, 200)) <= 200, "within the chart")
    check(svg.spread([], 13, 0, 200) == [])


@case
def charts_are_xml_and_described():
    results = page_of(whole())[1]
    panels = report_charts.destroy_panels(results)
    check(len(panels) == 3)
    for chart in panels:
        root = xml.fromstring(chart.svg(alone=True))
        check([e.tag for e in root[:2]] == [NAMES[1] + "title",
                                            NAMES[1] + "desc"])
        check_in("adaptive: 61.2 at 1,000", root[1].text)
        numbers = [float(n) for e in root.iter() for k in (
            "x", "y", "cx", "cy") for n in [e.get(k)] if n]
        check(all(-1 <= n <= 400 for n in numbers), "within the chart")
    alone = report_charts.destroy_svg(results)
    check(xml.fromstring(alone)[0].text.startswith("Destroying"))
    alone = svg.beside(panels, "kills & more", "three <panels>")
    root = xml.fromstring(alone)
    check(root[0].text == "kills & more" and "var(--c0)" in alone)
    check(float(root.get("width")) > 3 * 360)
    text = " ".join("".join(panels[2].svg()).split())
    check("not run:" in text, "a cell that was skipped")
    check("not run:" not in panels[0].svg())


@case
def a_goal_is_a_line():
    results = page_of(whole())[1]
    for chart, goal in zip(report_charts.destroy_panels(results),
                           ("at most 60", "at most 250", "at most 120")):
        root = xml.fromstring(chart.svg())
        lines = [e for e in root.iter(NAMES[1] + "line")
                 if e.get("class") == "goal"
                 and float(e.get("x2")) - float(e.get("x1")) > 200]
        check(len(lines) == 1, f"{goal}: {len(lines)} lines")
        check_in(goal, " ".join(root.itertext()))
    check_in("at most 250", report_charts.destroy_svg(results))
    check(report_charts.goal_of("runs64") is None)


@case
def the_worst_slice_is_of_all_traces():
    stage = TRACE["stages"][1] | {"longest": 16_739}
    shorter = TRACE | {"end": 60_900, "gfns": 5, "stages": [stage]}
    text = text_of(page_of({"kills": [TRACE, shorter]})[0])
    check_in("longest of 2 kills that were traced, of 777 gfns", text)
    check_in("No slice of any of them is above 16,739 instructions", text)


@case
def a_goal_names_its_columns():
    text = text_of(page_of(whole())[0])
    for words in ("goal", "add ≤ 40, step ≤ 20, remove ≤ 60",
                  "insert, find and remove ≤ 120", "per gfn ≤ 250",
                  "beyond idle ≤ 50,000", "longest ≤ 20,000"):
        check_in(words, text)
    alone = kill_of("adaptive", "dense", 1000, 5.0)
    two = alone | {"cpus": 2, "instructions_ratio_to_alone": 1.25}
    check_in("per gfn ≤ 69, ratio ≤ 1.15", text_of(page_of(
        {"rows": [alone, two]})[0]))


def tables_of(page):
    """{label: [cells of each row]}, its headings first."""
    found = {}
    for part in xml.fromstring(page.partition("\n")[2]).iter(
            NAMES[0] + "div"):
        if part.get("role") == "region":
            found[part.get("aria-label")] = [
                [cell.text for cell in row]
                for row in part.iter(NAMES[0] + "tr")]
    return found


@case
def a_table_has_no_column_of_dashes():
    tables = tables_of(page_of(whole())[0])
    for label, rows in tables.items():
        wide = [row for row in rows[1:] if len(row) == len(rows[0])]
        check(wide or not rows[1:], label)
        for cells in zip(rows[0], *wide):
            check(set(cells[1:]) != {"-"}, f"{label}: {cells[0]}")
    check("Xen" not in tables["The reverse map"][0])
    check("Xen" in tables["Goals against measured"][0])
    page = page_of({"rows": [kill_of("adaptive", "dense", 1000, 63.6)]})[0]
    check(tables_of(page)["Goals against measured"][2:] == [
        ["on one frame, dense, adaptive, 1,000 gfns: per gfn", "63.6", "60",
         "1.06 × goal"]], str(tables_of(page)["Goals against measured"]))


def boxes(chart):
    """[(words, left, right, baseline)] of the texts of a chart, as wide as
    they are in most fonts."""
    found = []
    for e in xml.fromstring(chart.svg()).iter(NAMES[1] + "text"):
        width = len(e.text or "") * (5.8 if "name" in e.get("class", "") else 5.2)
        left = float(e.get("x")) - width * {None: 0, "start": 0, "middle": 0.5,
                                            "end": 1}[e.get("text-anchor")]
        found.append((e.text, left, left + width, float(e.get("y"))))
    return found


def apart(chart):
    """No text over another, none outside."""
    found = boxes(chart)
    for i, (words, left, right, y) in enumerate(found):
        check(left >= -2 and right <= chart.width + 2,
              f"{words}: {left:.0f} to {right:.0f}")
        for other, left2, right2, y2 in found[:i]:
            check(abs(y - y2) >= 9 or right <= left2 or right2 <= left,
                  f"`{words}' is over `{other}'")


@case
def labels_of_delays_are_apart():
    for worst, idle in ((41_112, 3115), (3300, 3115), (3115, 3115),
                        (2000, 3115), (2_000_000, 1200)):
        for delays in ([[3072, 300], [4096, 600]], [[3072, 500], [4096, 1]],
                       [[1024, 1], [1536, 700]], [[1_048_576, 1000]]):
            row = woken("on its CPU", worst, idle) | {"count_delays": delays}
            row["instructions_beyond_idle"] = max(worst - idle, 0)
            results = page_of({"rows": [row]})[1]
            for chart in (report_wakeup.delay_panels(results)[0],
                          report_wakeup.worst_chart(results, 360),
                          report_wakeup.worst_chart(results, 760)):
                apart(chart)


@case
def no_line_goes_through_a_figure():
    for figures in ((16_350, 23_456, 3800), (20_000, 19_990, 19_980),
                    (42_839, 20_682, 12_172), (100, 90, 80),
                    (1_234_567, 5, 4)):
        results = page_of({"rows": [
            {"bench": "latency", "operation": f"o{i}",
             "instructions_longest": n} for i, n in enumerate(figures)]})[1]
        for width in (360, 760):
            chart = report_time.stretch_chart(results, width)
            apart(chart)
            lines = [e for e in xml.fromstring(chart.svg()).iter(
                NAMES[1] + "line") if e.get("x1") == e.get("x2")]
            check(len(lines) > 3)
            for words, left, right, y in boxes(chart):
                for e in lines:
                    check(not (left < float(e.get("x1")) < right and min(
                        float(e.get("y1")), float(e.get("y2"))) < y - 3 < max(
                            float(e.get("y1")), float(e.get("y2")))),
                        f"a line through `{words}'")


@case
def the_page_has_every_figure():
    page, results = page_of(whole())
    text = text_of(page)
    for bench, rows in by_bench(results.rows).items():
        for cells in grid(bench, rows)[1]:
            for cell in cells:
                check_in(" ".join(cell.removesuffix("!").split()), text)
    for words in (
            "54.8 instructions a gfn", "227 times as many",
            "above the limit of 20,000", "The median of their longest "
            "stretches is 16,350", "in 3 slices", "No slice is above 11,234",
            "the list 198: 3.00 times as many", "gcc 12 <&>",
            "31.5 instructions", "would take about 2.4e+10", "500,000",
            "777 gfns", "16.2", "41,112", "beside which",
            "1.50 to 4.25 times", "nested 81, shadow 1,834"):
        check_in(words, text)


@case
def the_page_stands_alone():
    page = page_of(whole())[0]
    check("<script" not in page and "@import" not in page)
    links = re.findall(r"(?:src|href|url)\s*[=(]\s*[^ ]+", page)
    check(not links, str(links))
    urls = set(re.findall(r"https?://[^\"' )]+", page))
    check(urls == {n.strip("{}") for n in NAMES}, str(urls))
    check_in("prefers-color-scheme:dark", page)
    check_in("@media print", page)
    check_in('name="viewport"', page)
    root = xml.fromstring(page.partition("\n")[2])
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    check(len(ids) == len(set(ids)), "an id is there twice")
    for chart in root.iter(NAMES[1] + "svg"):
        check(all(name in ids for name in chart.get("aria-labelledby").split()))


@case
def nothing_is_shown_of_what_was_not_measured():
    page, _ = page_of({"rows": [], "kills": []})
    text = text_of(page)
    for command in ("bench destroy --pattern", "bench latency --json",
                    "bench spte-rmap --json", "bench wakeup --json",
                    "bench all --json"):
        check_in(f"./quire {command}", text)
    check("<svg" not in page)
    check_in("Nothing that has a finding was measured", text)
    # One point, one bar, zeros.
    page, _ = page_of({"rows": [
        kill_of("adaptive", "dense", 1000, 0.0),
        map_of("list", "dense", 1, 0, 0),
        {"bench": "latency", "operation": "x", "instructions_longest": 0}]})
    check("<svg" in page)
    text_of(page)


@case
def results_of_several_builds_are_told():
    other = whole() | {"compiler": "gcc 13", "kills": []}
    check("more than one" not in text_of(page_of(whole())[0]))
    page, results = page_of(whole(), other)
    check_in("more than one compiler", text_of(page))
    check(len(results.rows) == len(whole()["rows"]), "each row once")
    first, later = (kill_of("list", "dense", 1000, c) for c in (5.0, 6.0))
    check(page_of({"rows": [first]}, {"rows": [later]})[1].rows == [later])
    again = report_data.Results()
    again.add(results.document())
    check(again.rows == results.rows and again.kills == results.kills)


def refused(part, document):
    check(raises(UserError, part, report_data.check, "x.json",
                 document).status == 2)


@case
def what_is_no_result_is_refused():
    refused("neither rows nor kills", [])
    refused("neither rows nor kills", {"scenario": "demo"})
    refused("no list of objects", {"rows": 5})
    refused("no list of objects", {"rows": [5]})
    refused("row 0: bench nonsense", {"rows": [{"bench": "nonsense"}]})
    row = kill_of("list", "dense", 1000, 5.0)
    for field in ("frames", "rmap", "gfns"):
        bad = {k: v for k, v in row.items() if k != field}
        refused(f"without `{field}'", {"rows": [row, bad]})
    for value in ("5", None, True, -1, float("nan"), float("inf"), [1]):
        refused("`instructions_per_gfn'",
                {"rows": [row | {"instructions_per_gfn": value}]})
    refused("`gfns' is 'many'", {"rows": [row | {"gfns": "many"}]})
    refused("`rmap' is ['x'], not text", {"rows": [row | {"rmap": ["x"]}]})
    refused("`more' is {}", {"rows": [row | {"more": {}}]})
    refused("without `pattern'", {"rows": [
        {k: v for k, v in row.items() if k != "pattern"}]})
    for table in (5, [5], [[1, 2, 3]], [[2, 1], [1, 1]], [[None, 1], [2, 1]],
                  [[1024, -1]]):
        refused("count_delays", {"rows": [row | {"count_delays": table}]})
    refused("`what' is missing, or no text", {"kills": [TRACE | {"what": 5}]})
    refused("nothing was measured", {"bench": "latency", "rows": [
        {"operation": "x"}]})
    refused("no `end'", {"kills": [TRACE | {"end": None}]})
    refused("`stages' is missing", {"kills": [
        {k: v for k, v in TRACE.items() if k != "stages"}]})
    refused("stage 0: `longest'", {"kills": [TRACE | {"stages": [
        {"stage": "ram", "start": 1000, "end": 1001, "slices": 1}]}]})
    refused("slice 0: not [start, end]", {"kills": [TRACE | {
        "slices": [[5, 4]]}]})
    refused("is not within", {"kills": [TRACE | {"slices": [[5, 1005]]}]})


@case
def a_chart_of_what_cannot_be_drawn():
    for words in (("share",), ("destroy", "--cpus", "2"),
                  ("destroy", "--frames", "pairs,holes")):
        status, out, err = quire("bench", *words, "--svg", "x.svg")
        check(status == 2 and not out, f"{status} {out}")
        check_in("gfns on one frame, on one CPU", err)
    results = page_of({"rows": [skip_of("list", "dense", 1_000_000)]})[1]
    check_in("not run:", report_charts.destroy_svg(results))


def report_fails(part, *words):
    status, out, err = quire("report", *words)
    check(status == 2 and not out, f"{status} {out}")
    check_in(part, err)


@case
def files_that_cannot_be_used():
    with folder() as place:
        place = pathlib.Path(place)
        good, bad = place / "good.json", place / "bad.json"
        out = place / "page.html"
        good.write_text(json.dumps(whole()), encoding="utf-8")
        report_fails("No such file", "--from", place / "none", "-o", out)
        bad.write_text("{", encoding="utf-8")
        report_fails("no JSON", "--from", good, bad, "-o", out)
        bad.write_text('{"rows": []}', encoding="utf-8")
        report_fails("no rows at all", "--from", bad, "-o", out)
        bad.write_text('{"rows": [{"bench": 5}]}', encoding="utf-8")
        report_fails("bench 5: the report knows", "--from", bad, "-o", out)
        report_fails("is a folder", "--from", good, "-o", place)
        report_fails("no such folder", "--from", good, "-o", place / "x/y")
        report_fails("either --from or --full", "--from", good, "--full")
        check(not out.exists())
        status, text, err = quire("report", "--from", good, "-o", out)
        check(status == 0 and not text and not err, err)
        check_in("report --from good.json -o page.html",
                 text_of(out.read_text(encoding="utf-8")))
        check(str(place) not in out.read_text(encoding="utf-8"),
              "the page says where it was made")
        check(sorted(p.name for p in place.iterdir())
              == ["bad.json", "good.json", "page.html"], "left behind")


@case
def a_page_is_written_whole_or_not_at_all():
    with folder() as place:
        place = pathlib.Path(place)
        page = place / "page.html"
        report.write_whole(page, "first")
        replace, os.replace = os.replace, lambda *_: (_ for _ in ()).throw(
            OSError(28, "No space left on device"))
        try:
            raises(UserError, "No space left", report.write_whole, page, "2")
        finally:
            os.replace = replace
        check(page.read_text(encoding="utf-8") == "first")
        check([p.name for p in place.iterdir()] == ["page.html"])


def _pixels(path):
    """(width, height, how many of the rows are not one colour) of a PNG that
    a browser wrote; filters are not undone, a plain row is all zeros or
    repeats in any of them."""
    data = path.read_bytes()
    width, height = (int.from_bytes(data[i:i + 4], "big") for i in (16, 20))
    chunks, at = b"", 8
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        if data[at + 4:at + 8] == b"IDAT":
            chunks += data[at + 8:at + 8 + size]
        at += size + 12
    raw = zlib.decompress(chunks)
    row = len(raw) // height
    marked = sum(len(set(raw[i + 5:i + row])) > 4
                 for i in range(0, len(raw), row))
    return width, height, marked


def _browse(browser, place, page, *options):
    done = subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu",
         "--hide-scrollbars", f"--user-data-dir={place}/profile",
         "--enable-logging=stderr", "--v=0", *options, page.as_uri()],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, done.stderr[-500:])
    console = [line for line in done.stderr.splitlines()
               if "CONSOLE" in line]
    check(not console, "\n".join(console))


@case
def a_browser_shows_it():
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise Skip("there is no chromium here")
    with folder() as place:
        place = pathlib.Path(place)
        page = place / "page.html"
        page.write_text(page_of(whole())[0], encoding="utf-8")
        for width, scheme in ((390, 1), (1280, 0)):
            shot = place / "shot.png"
            _browse(browser, place, page, f"--window-size={width},3000",
                    f"--blink-settings=preferredColorScheme={scheme}",
                    f"--screenshot={shot}")
            w, h, marked = _pixels(shot)
            check((w, h) == (width, 3000) and marked > 1000,
                  f"{w} x {h}, {marked} rows with something in them")
        paper = place / "page.pdf"
        _browse(browser, place, page, f"--print-to-pdf={paper}")
        check(paper.read_bytes()[:5] == b"%PDF-", "no PDF")
        check(paper.stat().st_size > 20_000, "an empty PDF")


if __name__ == "__main__":
    main()
