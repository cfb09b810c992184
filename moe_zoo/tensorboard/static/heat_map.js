// Heat maps on the canvas of a chart.

import { cellPixels } from "./cells.js";
import { packColor, parseColor } from "./colors.js";
import { make } from "./elements.js";
import { hatching } from "./legend.js";
import { themeColor } from "./theme.js";

/** Returns the axes and the paint function of a chart's view; arguments as in `cellPixels`. */
export function heatMap({ x, y, fractionAt, hatchZero = true }) {
  const cells = { x, y, fractionAt, hatchZero };
  return { x, y, paint: (context, area) => paintCells(context, area, cells) };
}

function paintCells(context, area, cells) {
  const { length } = cells.y;
  if (length === 0) return;
  const width = Math.max(Math.round(area.width * area.scale), 1);
  const image = new ImageData(width, length);
  const missing = packColor(parseColor(themeColor("missing")));
  new Uint32Array(image.data.buffer).set(cellPixels(cells, width, missing));
  const canvas = make("canvas", { width, height: length });
  canvas.getContext("2d").putImageData(image, 0, 0);
  context.fillStyle = hatching(context);
  context.fillRect(0, 0, area.width, area.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, area.width, area.height);
}
