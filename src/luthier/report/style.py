"""The report's style sheet: light and dark, wide and narrow."""

from __future__ import annotations

from luthier.report.html import Markup

CSS = Markup("""
:root{--paper:#fbfaf7;--card:#fff;--ink:#211d18;--soft:#6f675c;--line:#e6e0d6;--faint:#f3efe8;--accent:#9a4a16;
--good:#1f7a4d;--goodbg:#e2f2e8;--bad:#b3362b;--badbg:#fae5e2;--open:#8a6210;--openbg:#f8eed7;--calm:#4b5a6b;
--calmbg:#e8ecf1;--mini:#c9b79f;--full:#9a4a16;--orig:#4b5a6b;--best:#1f7a4d;--area:#efe3d5;--warn:#a4580b;
color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--paper:#171512;--card:#201d19;--ink:#ece6dc;--soft:#a59c8f;--line:#38332c;
--faint:#2a2621;--accent:#e39a5f;--good:#62c690;--goodbg:#163324;--bad:#f08a7e;--badbg:#44201c;--open:#e2b95b;
--openbg:#3a2e14;--calm:#a9b8c9;--calmbg:#29313a;--mini:#75684f;--full:#e39a5f;--orig:#a9b8c9;--best:#62c690;
--area:#362b20;--warn:#eba557}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
header,main,footer{max-width:1080px;margin:0 auto;padding:0 24px}
header{display:flex;flex-wrap:wrap;gap:2px 16px;align-items:baseline;padding-top:22px;padding-bottom:14px;
justify-content:space-between;font-size:14px}
.mark{font:600 19px/1 Georgia,"Times New Roman","Liberation Serif",serif;letter-spacing:.02em;color:var(--accent)}
.soft{color:var(--soft);font-weight:400}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.88em}
h1{font:500 clamp(20px,2.6vw,27px)/1.35 Georgia,"Times New Roman","Liberation Serif",serif;margin:14px 0 18px;
max-width:46em;text-wrap:pretty}
h2{font:600 21px/1.3 Georgia,"Times New Roman","Liberation Serif",serif;margin:0 0 2px}
h3{font-size:14px;font-weight:600;margin:20px 0 6px}
h4{font-size:12px;font-weight:600;margin:0 0 6px;color:var(--soft);text-transform:uppercase;letter-spacing:.06em}
h4 .soft{text-transform:none;letter-spacing:0}
section,.hero{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:26px 30px;margin:0 0 18px}
.hero{border-top:4px solid var(--open)}.hero.adopt{border-top-color:var(--good)}.hero.keep{border-top-color:var(--calm)}
.hero p{margin:0}
.lead{margin:0 0 16px;color:var(--soft);max-width:62em;font-size:15px;text-wrap:pretty}
.badge{display:inline-block;padding:4px 14px;border-radius:99px;font-weight:650;font-size:14px;color:var(--open);
background:var(--openbg)}
.badge.adopt{color:var(--good);background:var(--goodbg)}.badge.keep{color:var(--calm);background:var(--calmbg)}
.caption{font-size:13px;color:var(--soft);margin-top:4px!important}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:14px 18px;margin-top:22px;
padding-top:18px;border-top:1px solid var(--line)}
.tiles div{display:flex;flex-direction:column;min-width:0}
.tiles div:first-child{grid-column:span 2}
.tiles span,.tiles small{font-size:12.5px;color:var(--soft)}
.tiles b{font-size:19px;font-weight:600;line-height:1.35;white-space:nowrap}
.warning{margin:14px 0 0!important;padding:8px 14px;border-left:3px solid var(--warn);background:var(--openbg);
border-radius:0 6px 6px 0;font-size:14px}
.warning ul{margin:6px 0 2px;padding-left:1.3em}.warning summary{padding:0}
.warn{color:var(--warn)}
svg{display:block;overflow:visible}
svg text{font-size:12px;fill:var(--soft)}
svg .value{font-size:15px;font-weight:650;fill:var(--ink)}
.grid{stroke:var(--line);stroke-width:1}.zero,.floor{stroke:var(--soft);stroke-width:1.25}
.blind{fill:var(--faint)}
.baseline{stroke:var(--orig);stroke-width:1.25;stroke-dasharray:5 4}
.best{stroke:var(--best);stroke-width:2.25;stroke-linecap:round}
.cost{stroke:var(--accent);stroke-width:1.75;stroke-linecap:round}.area{fill:var(--area)}
.whisker{stroke-width:1.25}.whisker.mini{stroke:var(--mini)}.whisker.full{stroke:var(--full);stroke-width:2}
.whisker.original{stroke:var(--orig);stroke-width:2}
.dot{stroke:var(--card);stroke-width:1.5}.dot.mini{fill:var(--mini)}.dot.full{fill:var(--full)}
.dot.original{fill:var(--orig)}
.span{opacity:.32}.span.good,.dot.good{fill:var(--good)}.span.bad,.dot.bad{fill:var(--bad)}
.span.open,.dot.open{fill:var(--open)}
.chart{display:grid;grid-template-columns:44px minmax(0,1fr);gap:8px}
.axis-name{margin:-4px 0 0;text-align:center;font-size:12px;color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:0 0 8px;font-size:13px;color:var(--soft)}
.key{display:inline-block;width:10px;height:10px;border-radius:99px;margin-right:7px;background:var(--mini)}
.key.full{background:var(--full)}.key.original{background:var(--orig)}.key.fixed{background:var(--good)}
.key.broken,.key.error{background:var(--bad)}
.key.best{height:3px;width:18px;background:var(--best);vertical-align:middle}
.key.scored{background:var(--best)}.key.unparseable{background:var(--open)}.key.unscored{background:var(--soft)}
.stack{display:flex;height:12px;border-radius:4px;overflow:hidden;background:var(--faint);min-width:90px}
.stack i{display:block;height:100%}.stack .scored{background:var(--best)}.stack .unparseable{background:var(--open)}
.stack .error{background:var(--bad)}.stack .unscored{background:var(--soft)}
article{margin-top:22px}article+article{padding-top:18px;border-top:1px solid var(--line)}
article h3{margin:0 0 12px;font-size:16px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:22px}
.pair>div{min-width:0}
pre{margin:0;padding:14px 16px;background:var(--faint);border-radius:8px;white-space:pre-wrap;line-height:1.6;
font-size:13.5px;overflow-wrap:anywhere}
del,ins{text-decoration:none;border-radius:3px;padding:1px 2px;margin:0 -2px;box-decoration-break:clone;
-webkit-box-decoration-break:clone}
del{background:var(--badbg);color:var(--bad);text-decoration:line-through;text-decoration-thickness:1px}
ins{background:var(--goodbg);color:var(--good)}
details{margin-top:12px}summary{cursor:pointer;font-size:14px;padding:4px 0}
summary::marker{color:var(--accent)}
.nodemos{margin:12px 0 0;padding:4px 0;font-size:14px}
.demos{margin:6px 0 0;padding:0;list-style:none;max-height:440px;overflow:auto;border:1px solid var(--line);
border-radius:8px}
.demos li{padding:9px 14px;border-bottom:1px solid var(--line);font-size:13.5px}.demos li:last-child{border:0}
.field{display:grid;grid-template-columns:7.5em minmax(0,1fr);gap:10px}
.field .name{color:var(--soft);overflow:hidden;text-overflow:ellipsis}.field .value{white-space:pre-wrap;
overflow-wrap:anywhere}
.field.out .value{font-weight:600}
.texts{font-size:14px;padding-left:2em}.texts li{white-space:pre-wrap;margin:0 0 10px}
.chips{display:flex;flex-wrap:wrap;gap:5px;margin:0}
.chips code{background:var(--faint);padding:2px 8px;border-radius:5px;font-size:12.5px}
.scroll{overflow-x:auto;margin:0 -6px}
table{border-collapse:collapse;width:100%;font-size:14.5px}
th,td{text-align:left;padding:8px 6px;border-bottom:1px solid var(--line);vertical-align:middle}
th{font-size:12.5px;font-weight:500;color:var(--soft);white-space:nowrap}
tbody tr:last-child td{border-bottom:0}
.num{text-align:right;white-space:nowrap}
.bars td:nth-child(2){width:44%;min-width:150px;padding-left:14px;padding-right:14px}
.tag{display:inline-block;font-size:12px;font-weight:600;padding:1px 9px;border-radius:99px;background:var(--calmbg);
color:var(--calm);margin-right:6px}
.tag.chosen{background:var(--area);color:var(--full)}
td code{overflow-wrap:anywhere}
.of small{display:block;color:var(--soft);font-size:12px}
.notes{margin:12px 0 0;padding-left:1.2em;font-size:14px;color:var(--soft)}
.facts{margin:12px 0 0;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:0 32px}
.facts div{display:grid;grid-template-columns:10.5em minmax(0,1fr);gap:10px;padding:7px 0;
border-bottom:1px solid var(--line);font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
footer{padding-top:6px;padding-bottom:40px;font-size:13px;color:var(--soft)}
@media (max-width:640px){header,main,footer{padding-left:12px;padding-right:12px}
section,.hero{padding:18px 16px;border-radius:10px}.tiles{grid-template-columns:repeat(2,1fr)}
.tiles b{font-size:17px}.chart{grid-template-columns:38px minmax(0,1fr);gap:6px}
.facts div{grid-template-columns:8.5em minmax(0,1fr)}.field{grid-template-columns:1fr;gap:0}
thead{display:none}
tr{display:flex;flex-wrap:wrap;gap:3px 20px;padding:11px 0;border-bottom:1px solid var(--line)}
tbody tr:last-child{border-bottom:0}td,.bars td:nth-child(2){padding:0;border:0;width:auto}
td:not(.num){flex:0 0 100%}.num{text-align:left}
td[data-name]::before{content:attr(data-name);display:block;font-size:12px;color:var(--soft)}
.scroll{margin:0}td .key{margin-right:5px}}
@media print{body{background:#fff}section,.hero{break-inside:avoid;border-color:#ccc}}
""")
