// Keeps the running cycle's part of the first page up to date. Without JavaScript the page shows it as it was loaded.
"use strict";

const live = document.getElementById("live");

function part(name) {
  return live.querySelector(`[data-live="${name}"]`);
}

function clockTime(seconds) {
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  const padded = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${padded(minutes)}:${padded(whole % 60)}` : `${minutes}:${padded(whole % 60)}`;
}

function count(progress) {
  if (progress.total === null) return "";
  const unit = progress.in_bytes ? 1e6 : 1;
  const shown = (number) => (number / unit).toLocaleString("en", { maximumFractionDigits: progress.in_bytes ? 1 : 0 });
  const left = progress.seconds_left === null ? "" : `, ${clockTime(progress.seconds_left)} left`;
  return `${shown(progress.done)}/${shown(progress.total)}${progress.in_bytes ? " MB" : ""}${left}`;
}

function lineItem(line) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = line.moment;
  time.textContent = line.moment.slice(11, 19);
  item.append(time, ` ${line.text}`);
  return item;
}

function show(progress) {
  for (const name of ["watchlist", "step", "words"]) part(name).textContent = progress[name];
  part("count").textContent = count(progress);
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

if (live) {
  let running = !live.hidden;
  follow((event) => {
    const progress = JSON.parse(event.data);
    // A cycle began or ended: everything else on the page has changed, too.
    if ((progress !== null) !== running) return location.reload();
    if (progress) show(progress);
  });
}
