// Tells the server the time zone of the person, for the dates of the next page.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes("postkeep_zone=" + encodeURIComponent(zone))) {
  document.cookie = "postkeep_zone=" + encodeURIComponent(zone) + "; path=/; max-age=31536000; samesite=lax";
}
