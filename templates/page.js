// Keeps the running cycle's part of the first page up to date, and lets long parts of any page be scrolled by keyboard.
// Without JavaScript the pages show everything as it was when they were loaded.
"use strict";

const live = document.getElementById("live");

function part(name) {
  return live.querySelector(`[data-live="${name}"]`);
}

function lineItem(line) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = line.moment;
  time.textContent = line.moment.slice(11, 19);
  item.append(time, line.text);
  return item;
}

function show(progress) {
  for (const name of ["watchlist", "words", "count"]) part(name).textContent = progress[name];
  part("step").textContent = progress.step || "working…";
  const link = part("cycle");
  link.hidden = !progress.cycle;
  link.href = `/cycles/${encodeURIComponent(progress.cycle ?? "")}`;
  const bar = part("bar");
  if (progress.total) {
    bar.max = progress.total;
    bar.value = progress.done;
  } else {
    bar.removeAttribute("value");
  }
  part("lines").replaceChildren(...progress.lines.toReversed().map(lineItem));
}

function follow(onMessage) {
  let source = null;
  function open() {
    if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
    source = new EventSource("/events");
    source.addEventListener("message", onMessage);
    // Refused, because too many are open: a browser gives up then.
    source.addEventListener("error", () => source.readyState === EventSource.CLOSED && setTimeout(open, 60000));
  }
  // A browser has few connections to a server, so only the pages that somebody sees hold one.
  document.addEventListener("visibilitychange", () => (document.hidden ? source?.close() : open()));
  open();
}

async function showFront() {
  const answer = await fetch("/running/front");
  if (answer.ok) part("front").innerHTML = await answer.text();
}

if (live) {
  let running = !live.hidden;
  let generation = part("front").querySelector("[data-generation]")?.dataset.generation ?? "0";
  follow((event) => {
    const now = JSON.parse(event.data);
    // A cycle began or ended: everything else on the page has changed, too.
    if ((now !== null) !== running) return location.reload();
    if (!now) return;
    show(now);
    if (String(now.generation) !== generation) {
      generation = String(now.generation);
      showFront();
    }
  });
}

for (const block of document.querySelectorAll(".card pre, .card table")) block.tabIndex = 0;
