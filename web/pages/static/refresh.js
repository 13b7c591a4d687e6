// Shows the progress of what is being made, until it is done.
async function refresh() {
  if (!document.querySelector("[data-refresh]")) return;
  const answer = await fetch(location.href, { headers: { "Postkeep-Fragment": "1" } });
  if (answer.ok) {
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-refresh], main section:last-of-type");
    if (next) document.querySelector("[data-refresh]").replaceWith(next);
  }
  setTimeout(refresh, 1000);
}
if (document.querySelector("[data-refresh]")) setTimeout(refresh, 500);
