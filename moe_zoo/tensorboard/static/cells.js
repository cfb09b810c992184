// The pixels of a heat map.

import { colorAt, packColor } from "./colors.js";

const RAMP = Array.from({ length: 256 }, (_, i) => packColor(colorAt(i / 255).map(Math.round)));

/**
 * Returns packed colors, row by row, each `width` pixels wide.
 *
 * `fractionAt(column, row)` is a place on the ramp, or `null` without a value, which gets the color
 * `missing`. Columns that share a pixel show their mean. With `hatchZero`, a zero is transparent.
 */
export function cellPixels({ x, y, fractionAt, hatchZero }, width, missing) {
  const pixels = new Uint32Array(width * y.length);
  const spans = pixelSpans(x, width);
  for (let row = 0; row < y.length; row++) {
    for (let pixel = 0; pixel < width; pixel++) {
      const mean = meanFraction(spans[pixel], row, fractionAt);
      const place = row * width + pixel;
      if (mean === null) pixels[place] = missing;
      else if (mean > 0 || !hatchZero) pixels[place] = RAMP[Math.min(Math.round(mean * 255), 255)];
    }
  }
  return pixels;
}

/** Returns the first and last column of each pixel, or `null` without a column. */
function pixelSpans(x, width) {
  const spans = new Array(width).fill(null);
  for (let column = 0; column < x.length; column++) {
    const [from, to] = x.edges(column).map((edge) => edge * width);
    const first = Math.floor(from + 0.5 - 1e-6);
    const last = Math.max(Math.ceil(to - 0.5 - 1e-6) - 1, first);
    for (let pixel = Math.max(first, 0); pixel <= Math.min(last, width - 1); pixel++) {
      if (spans[pixel]) spans[pixel][1] = column;
      else spans[pixel] = [column, column];
    }
  }
  return spans;
}

function meanFraction(span, row, fractionAt) {
  if (!span) return null;
  let [total, number] = [0, 0];
  for (let column = span[0]; column <= span[1]; column++) {
    const fraction = fractionAt(column, row);
    if (fraction !== null) {
      total += fraction;
      number += 1;
    }
  }
  return number ? total / number : null;
}
