"""What a live page has beside the report: a script that follows the study, and says so."""

from __future__ import annotations

import base64
import hashlib

from luthier.report.html import Markup

STYLE = Markup("""
#live{position:fixed;right:16px;bottom:16px;max-width:calc(100vw - 32px);padding:6px 14px;border-radius:99px;
font-size:13px;background:var(--card);color:var(--soft);border:1px solid var(--line);
box-shadow:0 2px 10px rgba(0,0,0,.14)}
#live::before{content:"";display:inline-block;width:8px;height:8px;border-radius:50%;margin-right:8px;
background:var(--soft)}
#live.running::before{background:var(--good)}#live.lost{color:var(--bad)}#live.lost::before{background:var(--bad)}
footer{padding-bottom:72px}
@media (prefers-reduced-motion:no-preference){#live.running::before{animation:luthier-live 2s ease-in-out infinite}
@keyframes luthier-live{50%{opacity:.3}}}
@media print{#live{display:none}}
""")

# The report is fetched whole and parsed inertly. A section whose text is as it was stays as it is; of one that is
# replaced, what the reader opened stays open, and what was scrolled stays scrolled.
SCRIPT = Markup("""
"use strict";(()=>{
const POLL=1000,SLOW=10000,LATE=8000,QUIET=60000;
const sign=document.getElementById("live");
let tag=sign.dataset.tag,failing=0,news=Date.parse(sign.dataset.since)||Date.now();
const parts=root=>[...root.querySelectorAll("body>header,main>*,body>footer")];
const nameOf=part=>part.querySelector("h2")?.textContent??(part.classList.contains("hero")?"hero":part.localName);
const served=new WeakMap();
for(const part of parts(document))served.set(part,part.outerHTML);
const marked=(part,kind)=>[...part.querySelectorAll(kind)];
const BOXES=".demos,.scroll,pre";
const labels=part=>{const seen={};return marked(part,"details").map(each=>{
const text=(each.querySelector("summary")?.textContent??"").replace(/[0-9.,%]+/g,"#");
seen[text]=(seen[text]??0)+1;return text+"/"+seen[text]})};
const keep=(old,fresh)=>{
const open=new Set(),names=labels(old);
marked(old,"details").forEach((each,i)=>{if(each.open)open.add(names[i])});
const also=labels(fresh);
marked(fresh,"details").forEach((each,i)=>{if(open.has(also[i]))each.open=true});
return marked(old,BOXES).map(box=>[box.scrollTop,box.scrollLeft])};
const restore=(fresh,places)=>marked(fresh,BOXES).forEach((box,i)=>{
if(places[i])[box.scrollTop,box.scrollLeft]=places[i]});
const selecting=()=>{const now=getSelection();return now&&!now.isCollapsed};
const anchor=()=>parts(document).find(part=>part.getBoundingClientRect().bottom>0);
const focused=()=>{const at=document.activeElement,part=at?.closest?.("main>*");
if(!part||at.localName!=="summary")return null;
return[nameOf(part),labels(part)[marked(part,"details").indexOf(at.parentElement)]]};
const refocus=key=>{if(!key)return;
const part=parts(document).find(each=>nameOf(each)===key[0]);
if(part)marked(part,"details")[labels(part).indexOf(key[1])]?.querySelector("summary")?.focus({preventScroll:true})};
const show=text=>{
const page=new DOMParser().parseFromString(text,"text/html"),main=document.querySelector("main");
const held=anchor(),heldName=held&&nameOf(held),heldTop=held?.getBoundingClientRect().top,focus=focused();
const old=new Map(parts(document).map(part=>[nameOf(part),part]));
let last=null;
for(const part of parts(page)){
const name=nameOf(part),before=old.get(name),html=part.outerHTML;
old.delete(name);
let now=before;
if(!before||served.get(before)!==html){
now=document.importNode(part,true);served.set(now,html);
if(before){const places=keep(before,now);before.replaceWith(now);restore(now,places)}
else if(part.parentElement.localName==="main"){
if(last)last.after(now);else main.prepend(now)}}
if(now.parentElement===main)last=now}
for(const gone of old.values())gone.remove();
document.title=page.title;
const again=heldName&&parts(document).find(part=>nameOf(part)===heldName);
if(again&&scrollY>0)scrollBy(0,again.getBoundingClientRect().top-heldTop);
refocus(focus);
const next=page.getElementById("live");
sign.dataset.tag=next.dataset.tag;sign.dataset.finished=next.dataset.finished};
const say=(kind,text)=>{sign.className=kind;if(sign.textContent!==text)sign.textContent=text};
const tell=()=>{
if(failing)return say("lost",failing===1?"Not reached, trying again":
"Not reached any more: is `luthier show --web` still running?");
if(sign.dataset.finished==="yes")return say("","Finished");
const quiet=Date.now()-news;
if(quiet>QUIET)return say("","Paused, or waiting: no news for "+(quiet<6e6?Math.floor(quiet/6e4)+" min":
Math.floor(quiet/36e5)+" h"));
say("running","Live: follows the study")};
const look=async()=>{
try{
const answer=await fetch(location.pathname,{headers:{"If-None-Match":'"'+tag+'"'},cache:"no-store",
signal:AbortSignal.timeout(LATE)});
if(answer.status===200&&!selecting()){
show(await answer.text());tag=sign.dataset.tag;failing=0;news=Date.now()}
else if(answer.ok||answer.status===304)failing=0;
else{failing=2;say("lost",(await answer.text())||"No report: "+answer.status);return}
}catch{failing++}
tell()};
const go=async()=>{await look();setTimeout(go,document.hidden||sign.dataset.finished==="yes"?SLOW:POLL)};
document.addEventListener("visibilitychange",()=>{if(!document.hidden)look()});
tell();setTimeout(go,POLL)})();
""")

_SUM = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_SUM}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""Only this one script runs, whatever a model wrote; it may ask only the server it came from."""
