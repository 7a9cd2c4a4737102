// Times as texts. All times are milliseconds since 1970, UTC.

export const MINUTE = 60_000;

export function parse(text: string): number {
  return Date.parse(text);
}

/** "14:25", and the day before it if it is not the day of `beside`. */
export function clock(time: number, zone: string | undefined, beside = time): string {
  const options: Intl.DateTimeFormatOptions = { timeZone: zone };
  const day = (t: number) => new Date(t).toLocaleDateString("sv-SE", options);
  const hour = new Date(time).toLocaleTimeString("en-GB", {
    ...options,
    hour: "2-digit",
    minute: "2-digit",
  });
  return day(time) === day(beside) ? hour : `${day(time)} ${hour}`;
}

/** Both times: "16:25 (14:25 UTC)"; one if they are the same. */
export function bothClocks(time: number, zone: string | undefined, beside = time): string {
  const local = clock(time, zone, beside);
  const utc = clock(time, "UTC", beside);
  return local === utc ? `${utc} UTC` : `${local} (${utc} UTC)`;
}

export function date(time: number, zone: string | undefined): string {
  return new Date(time).toLocaleDateString("sv-SE", { timeZone: zone });
}

/** "3 min", "2 h 10 min", "4 days". */
export function span(milliseconds: number): string {
  const minutes = Math.floor(Math.abs(milliseconds) / MINUTE);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
  return `${Math.floor(hours / 24)} days`;
}
