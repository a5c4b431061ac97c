"""Reports in HTML: a fragment for other pages, or a page of its own that needs nothing else."""

from functools import cache

from jinja2 import Environment, Template

from bench.report.table import Report

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem}
h2{font-size:1.1rem;margin-top:2.5rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid;font-variant-numeric:tabular-nums}
th,td{padding:.15rem .6rem;text-align:right;white-space:nowrap}
th.name{text-align:left;position:sticky;left:0;background:#fff}
tbody th{font-weight:normal}
thead{border-bottom:1px solid}
th[colspan]{text-align:center;border-bottom:1px solid #999}
tr.rule{border-top:1px solid #999}
ul{font-size:.9em;color:#444}
"""

FRAGMENT = """
<section>
<h{{ level }}>{{ report.heading }}</h{{ level }}>
{%- for table in report.tables %}
{%- if table.title %}
<h{{ level + 1 }}>{{ table.title }}</h{{ level + 1 }}>
{%- endif %}
<p>{{ table.about }}</p>
<div class="wide"><table>
<thead>
{%- set spans = table.spans() %}
{%- set two = spans | map("first") | select | list %}
<tr>
{%- for column in table.columns[:table.stub] %}
<th{% if loop.first %} class="name"{% endif %}{% if two %} rowspan="2"{% endif %}>
{{- column.name }}</th>{% endfor %}
{%- for span, own in spans %}
{%- if span %}<th colspan="{{ own | length }}">{{ span }}</th>
{%- else %}<th{% if two %} rowspan="2"{% endif %}>{{ table.columns[own[0]].name }}</th>{% endif %}
{%- endfor %}</tr>
{%- if two %}
<tr>
{%- for span, own in spans if span %}
{%- for number in own %}<th>{{ table.columns[number].name }}</th>{% endfor %}
{%- endfor %}</tr>
{%- endif %}
</thead>
<tbody>
{%- for row in table.rows %}
<tr{% if row.rule and not loop.first %} class="rule"{% endif %}>
{%- for cell in row.cells %}
{%- if loop.first %}<th class="name" scope="row">{{ cell }}</th>
{%- elif loop.index0 in row.best %}<td><strong>{{ cell }}</strong></td>
{%- else %}<td>{{ cell }}</td>{% endif %}
{%- endfor %}</tr>
{%- endfor %}
</tbody>
</table></div>
<ul>{% for note in table.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{%- endfor %}
<ul>{% for line in report.legend %}<li>{{ line }}</li>{% endfor %}</ul>
</section>
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.heading }}</title>
<style>{{ style }}</style>
</head>
<body>
{{ fragment }}
</body>
</html>
"""


def fragment(report: Report, level: int = 1) -> str:
    """Return a report as one `section` headed by h`level`, every text escaped; the best of a column is strong."""
    return _template(FRAGMENT).render(report=report, level=level).strip()


def page(report: Report) -> str:
    """Return a report as a page."""
    from markupsafe import Markup

    return _template(PAGE).render(report=report, style=Markup(STYLE), fragment=Markup(fragment(report))) + "\n"


@cache
def _template(source: str) -> Template:
    return Environment(autoescape=True).from_string(source)
