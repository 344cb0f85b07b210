"""The style sheet of the report."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bar: #3b7dd8; --truth: #1f8f5f;
  --ground: #ffffff; --text: #17202b; --faint: #556273; --link: #1660b8; --chosen: #c77700; --up: #0b7a57;
  --down: #b3261e; --badge: #8a5a00; --badge-ground: #f5b94233; }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1116; --text: #e8edf3;
  --faint: #9daabb; --link: #5aa9ff; --truth: #35d6a0; --chosen: #ffb020; --up: #35d6a0; --down: #ff8a84;
  --badge: #ffc861; } }
* { box-sizing: border-box; }
html { background: var(--ground); color: var(--text); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 0 1rem 3rem;
  overflow-wrap: anywhere; }
main { min-width: 0; } h1 { margin: 1.5rem 0 .2rem; } h2 { margin: 2.5rem 0 .5rem; scroll-margin-top: 3.5rem; }
nav { position: sticky; top: 0; z-index: 1; background: var(--ground); border-bottom: 1px solid var(--line);
  padding: .5rem 0;
  display: flex; gap: .2rem 1.1rem; overflow-x: auto; white-space: nowrap; }
nav a { color: var(--link); text-decoration: none; } nav a:hover { text-decoration: underline; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; }
  .facts dt { color: var(--faint); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; background: var(--soft); }
.card b { font-size: 1.9rem; line-height: 1.2; font-variant-numeric: tabular-nums; display: block; }
.badge { display: inline-block; border-radius: 1rem; padding: 0 .6rem; background: var(--badge-ground);
  color: var(--badge); font-size: .85em;
  font-weight: 600; }
.up { color: var(--up); } .down { color: var(--down); }
table { border-collapse: collapse; margin: 1rem 0; } .wide { overflow-x: auto; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--ground); }
  td.ours { font-weight: 600; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .25rem .6rem; max-width: 44rem; }
.bars div.track { background: var(--line); border-radius: .2rem; } .bars div.fill { background: var(--bar);
  height: 100%; min-height: 1rem; border-radius: .2rem; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(25rem, 100%), 1fr)); gap: 1rem; }
.example { border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .8rem; overflow-wrap: anywhere; }
.example svg { width: 100%; max-width: 34rem; border-radius: .4rem; background: var(--soft); }
.note { color: var(--faint); font-size: .9em; }
rect { fill: none; vector-effect: non-scaling-stroke; } rect.proposal { stroke: var(--line); }
rect.object { stroke: #888a; stroke-dasharray: 3 3; }
text { font-size: 12px; text-anchor: middle; fill: var(--text); paint-order: stroke; stroke: var(--ground);
  stroke-width: 3px; }
text.object, text.metre { fill: var(--faint); } text.truth, text.predicted { font-weight: 600; }
text.truth { fill: var(--truth); } text.predicted { fill: var(--chosen); }
path.metre { fill: none; stroke: var(--faint); stroke-width: 1.5; }
rect.truth { stroke: var(--truth); stroke-width: 2.5; fill: var(--truth); fill-opacity: .2; }
rect.predicted { stroke: var(--chosen); stroke-width: 2.5; fill: var(--chosen); fill-opacity: .15; }
.key { display: inline-block; width: .8rem; height: .8rem; border: 2.5px solid; border-radius: 2px;
  vertical-align: -1px; }
.key.truth { color: var(--truth); } .key.predicted { color: var(--chosen); } .key.proposal { color: #888a; }
.key.object { color: #888a; border-style: dashed; border-width: 1.5px; }
dt { color: var(--faint); font-size: .9em; } dd { margin: 0 0 .3rem 0; white-space: pre-wrap; }
summary { cursor: pointer; padding: .3rem 0; }
@media (max-width: 40rem) { .bars { grid-template-columns: 7rem 1fr max-content; }
  .facts { grid-template-columns: 1fr; } }
"""
