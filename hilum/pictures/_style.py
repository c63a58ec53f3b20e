"""The one style sheet of the page: calm, typographic, light and dark, phone and paper."""

STYLE = """
:root{--paper:#fbfbf9;--ink:#1d2126;--soft:#5d656e;--rule:#dcdfe2;--wash:#f1f2f0;--accent:#0b5d7a;
--info:#0b5d7a;--good:#1d7a50;--warning:#a35c00;--refused:#b3261e;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b0518b;--s4:#8a6d00;--s5:#3a9bd6;--s6:#555b63}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e4e7ea;--soft:#98a1ab;--rule:#2e343a;--wash:#1c2125;
--accent:#7cc4dd;--info:#7cc4dd;--good:#63c295;--warning:#e8a84a;--refused:#f28b82;
--s0:#56b4e9;--s1:#f0934e;--s2:#3fc79c;--s3:#dd94bf;--s4:#e6cf4a;--s5:#8fb8ff;--s6:#aab2bb}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:62rem;margin:0 auto;padding:3rem 1.5rem 1rem}
h1,h2,h3{line-height:1.25;font-weight:600;letter-spacing:-.01em;overflow-wrap:anywhere}
h1{font-size:1.9rem;margin:0 0 1.5rem;padding-bottom:1rem;border-bottom:1px solid var(--rule)}
h2{font-size:1.25rem;margin:2.75rem 0 .75rem}
h3{font-size:1.02rem;margin:1.75rem 0 .5rem}
p{max-width:44rem;margin:.6rem 0;overflow-wrap:anywhere}
.note{border-left:3px solid var(--info);background:var(--wash);padding:.6rem 1rem;border-radius:0 4px 4px 0}
.note strong{color:var(--info);margin-right:.4rem}
.note.good{border-color:var(--good)}.note.good strong{color:var(--good)}
.note.warning{border-color:var(--warning)}.note.warning strong{color:var(--warning)}
.note.refused{border-color:var(--refused)}.note.refused strong{color:var(--refused)}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums;min-width:min(100%,24rem)}
caption{text-align:left;color:var(--soft);padding-bottom:.4rem}
th,td{text-align:left;padding:.42rem 1.4rem .42rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:.85rem;white-space:nowrap;border-bottom:1.5px solid var(--soft)}
td strong{font-weight:700}
.num{text-align:right;white-space:nowrap}
td:last-child,th:last-child{padding-right:0}
figure{margin:1.25rem 0}
img{display:block;max-width:100%;height:auto;border-radius:3px;background:#121316;image-rendering:auto}
figcaption{color:var(--soft);font-size:.86rem;line-height:1.4;margin-top:.45rem;overflow-wrap:anywhere}
figcaption.title{color:var(--ink);font-weight:600;font-size:.95rem;margin:0 0 .5rem}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:1.25rem;margin:1.25rem 0}
.sheet figure{margin:0}.sheet img{width:100%}
.sheet.broad{grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
.plot{max-width:44rem;overflow-x:auto}
svg{display:block;width:100%;min-width:30rem;height:auto}
.abreast{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.5rem 2rem;
margin:1.25rem 0}
.abreast figure{margin:0;max-width:none}.abreast svg{min-width:0}
.abreast svg text,.abreast svg .label{font-size:16px}
svg text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;
font-variant-numeric:tabular-nums}
svg .label{font-size:12.5px}svg .name{fill:var(--ink);font-size:12.5px}
svg .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 4}
svg .grid{stroke:var(--rule);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .d1{stroke-dasharray:7 5}svg .d2{stroke-dasharray:2 5}
svg .dot{fill:currentColor}svg .bar{fill:currentColor;opacity:.4}svg .span{stroke:var(--soft);stroke-width:2}
.s0{color:var(--s0)}.s1{color:var(--s1)}.s2{color:var(--s2)}.s3{color:var(--s3)}.s4{color:var(--s4)}
.s5{color:var(--s5)}.s6{color:var(--s6)}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.25rem;font-size:.88rem;margin:.6rem 0}
.legend i{display:inline-block;width:.85rem;height:.85rem;border-radius:2px;background:currentColor;
margin-right:.45rem;vertical-align:-.08em}
details{margin:.9rem 0;border:1px solid var(--rule);border-radius:4px}
summary{cursor:pointer;padding:.5rem .9rem;font-weight:600;font-size:.93rem}
pre{margin:0;padding:.8rem .9rem;border-top:1px solid var(--rule);background:var(--wash);overflow-x:auto;
font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{max-width:62rem;margin:3rem auto 0;padding:1rem 1.5rem 2.5rem;color:var(--soft);font-size:.85rem}
footer::before{content:"";display:block;border-top:1px solid var(--rule);margin-bottom:1rem}
@media (max-width:40rem){main{padding:1.75rem 1rem .5rem}h1{font-size:1.5rem}footer{padding:1rem 1rem 2rem}}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--rule:#bbb;--wash:#fff;--info:#0b5d7a;--good:#1d7a50;
--warning:#8a4d00;--refused:#b3261e;--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b0518b;--s4:#8a6d00;--s5:#3a9bd6;
--s6:#555b63}
body{font-size:10.5pt}main{max-width:none;padding:0}figure,table,.note{break-inside:avoid}
h2,h3{break-after:avoid}.wide,.plot{overflow:visible}svg{min-width:0}pre{white-space:pre-wrap}img{print-color-adjust:exact}}
"""
# Series colours are darker on light paper than the drawing palette, so that thin lines and their names can be read.
