// What people type to find a place. Pure functions.

// letters that are no letter with a mark
const LETTERS: Record<string, string> = {
  ß: "ss", æ: "ae", œ: "oe", ø: "o", ł: "l", đ: "d", ð: "d", þ: "th", ı: "i",
};

/** A name in small letters without accents, so that "besancon" finds Besançon. */
export function plain(name: string): string {
  return name
    .trim()
    .toLowerCase()
    .normalize("NFD")
    .replace(/\p{Mark}/gu, "")
    .replace(/[ßæœøłđðþı]/g, (letter) => LETTERS[letter]!);
}

const COMMA_OR_POINT = /^([+-]?\d+(?:[.,]\d+)?)(?:\s*;\s*|,?\s+)([+-]?\d+(?:[.,]\d+)?)$/;
const POINT = /^([+-]?\d+(?:\.\d+)?)\s*,\s*([+-]?\d+(?:\.\d+)?)$/;

/**
 * Latitude and longitude of a text; null if it says none.
 *
 * A comma may be the decimal sign where a space or a semicolon is between the numbers.
 */
export function latLonOf(text: string): [number, number] | null {
  const wanted = text.trim();
  const [, first, second] = COMMA_OR_POINT.exec(wanted) ?? POINT.exec(wanted) ?? [];
  if (first === undefined || second === undefined) return null;
  const [lat, lon] = [first, second].map((number) => Number(number.replace(",", ".")));
  return Math.abs(lat!) <= 90 && Math.abs(lon!) <= 360 ? [lat!, lon!] : null;
}
