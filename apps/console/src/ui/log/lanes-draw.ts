/** Canvas drawing of the lanes. No React, no state: everything comes in as arguments. */
import type { Entry } from './log-page.tsx';

export interface Lane {
  readonly id: number;
  readonly live: boolean;
  readonly primary: boolean;
  readonly applied: number;
  readonly commit: number;
  readonly durable: number;
  readonly last: number;
  readonly entries: readonly Pick<Entry, 'index' | 'view' | 'kind' | 'hash'>[];
}

export interface Axis {
  readonly low: number;
  readonly high: number;
}

const GUTTER = 44;
const TOP = 18;
const LANE = 30;
const BAR = 18;
const RIGHT = 12;

export function laneHeight(lanes: number): number {
  return TOP + lanes * LANE + 6;
}

function scale(width: number, axis: Axis) {
  const cell = (width - GUTTER - RIGHT) / (axis.high - axis.low + 1);
  return { cell, x: (index: number) => GUTTER + (index - axis.low) * cell };
}

/** Replica and index under a point, for a click. */
export function cellAt(canvas: HTMLCanvasElement, px: number, py: number, lanes: readonly Lane[], axis: Axis) {
  const { cell } = scale(canvas.clientWidth, axis);
  const index = axis.low + Math.floor((px - GUTTER) / cell);
  const lane = lanes[Math.floor((py - TOP) / LANE)];
  return lane && index >= axis.low && index <= lane.last ? { replica: lane.id, index } : null;
}

/** Resolves a token to a plain colour: canvases do not know CSS variables. */
function palette(canvas: HTMLCanvasElement) {
  const probe = document.createElement('span');
  probe.hidden = true;
  canvas.parentElement!.append(probe);
  const colour = (token: string) => {
    probe.style.color = `var(${token})`;
    return getComputedStyle(probe).color;
  };
  const out = {
    text: colour('--text'),
    muted: colour('--muted'),
    line: colour('--line'),
    bad: colour('--bad'),
    accent: colour('--accent'),
    surface: colour('--surface'),
    views: [0, 1, 2, 3, 4, 5].map((n) => colour(`--view-${n}`)),
  };
  probe.remove();
  return out;
}

export function drawLanes(canvas: HTMLCanvasElement, lanes: readonly Lane[], axis: Axis): void {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = laneHeight(lanes.length);
  if (width === 0) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext('2d');
  if (!ctx) return;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const colours = palette(canvas);
  const { cell, x } = scale(width, axis);
  ctx.font = '11px "JetBrains Mono Variable", monospace';
  ctx.textBaseline = 'middle';
  drawAxis(ctx, axis, x, width, colours.muted);
  lanes.forEach((lane, row) => {
    const top = TOP + row * LANE + (LANE - BAR) / 2;
    ctx.globalAlpha = lane.live ? 1 : 0.4;
    ctx.fillStyle = lane.primary && lane.live ? colours.accent : colours.text;
    ctx.fillText(`${lane.primary && lane.live ? '♛' : ' '}r${lane.id}`, 2, top + BAR / 2);
    ctx.fillStyle = colours.line;
    ctx.fillRect(GUTTER, top, width - GUTTER - RIGHT, BAR);
    drawCells(ctx, lane, axis, x, cell, top, colours);
    drawMarks(ctx, lane, axis, x, cell, top, colours);
    ctx.globalAlpha = 1;
  });
}

type Colours = ReturnType<typeof palette>;

function drawAxis(
  ctx: CanvasRenderingContext2D,
  axis: Axis,
  x: (index: number) => number,
  width: number,
  colour: string,
) {
  ctx.fillStyle = colour;
  const step = Math.max(20, Math.ceil((axis.high - axis.low) / Math.max(2, Math.floor(width / 130)) / 20) * 20);
  for (let at = Math.ceil(axis.low / step) * step; at <= axis.high; at += step) {
    const label = at.toLocaleString('en-US');
    const left = Math.min(x(at), width - ctx.measureText(label).width - 2);
    ctx.fillText(label, left, 7);
    ctx.fillRect(x(at), TOP - 4, 1, 3);
  }
}

function drawCells(
  ctx: CanvasRenderingContext2D,
  lane: Lane,
  axis: Axis,
  x: (i: number) => number,
  cell: number,
  top: number,
  colours: Colours,
) {
  let before = '';
  const labels: { text: string; at: number }[] = [];
  const gap = cell > 4 ? 1 : 0;
  for (const entry of lane.entries) {
    const index = Number(entry.index);
    if (index < axis.low || index > axis.high) continue;
    const fill = colours.views[Number(entry.view) % 6]!;
    const alpha = ctx.globalAlpha;
    if (index > lane.commit) {
      // Prepared only: outlined, so that it is told from committed without its colour; narrow cells share one outline.
      ctx.strokeStyle = fill;
      ctx.fillStyle = fill;
      if (cell >= 4) ctx.strokeRect(x(index) + 0.5, top + 0.5, Math.max(1, cell - gap - 1), BAR - 1);
      else {
        ctx.fillRect(x(index), top, cell, 1);
        ctx.fillRect(x(index), top + BAR - 1, cell, 1);
        ctx.globalAlpha = alpha * 0.15;
        ctx.fillRect(x(index), top, cell, BAR);
      }
    } else {
      ctx.globalAlpha = alpha * (index > lane.applied ? 0.35 : 0.65);
      ctx.fillStyle = fill;
      ctx.fillRect(x(index), top, Math.max(0.75, cell - gap), BAR);
    }
    ctx.globalAlpha = alpha;
    if (entry.view !== before) {
      if (before !== '') {
        ctx.fillStyle = colours.text;
        ctx.fillRect(x(index) - 0.5, top - 3, 1, BAR + 6);
      }
      labels.push({ text: `v${entry.view}`, at: x(index) + 4 });
      before = entry.view;
    }
  }
  for (const { text, at } of labels) labelView(ctx, text, at, top, colours);
}

function labelView(ctx: CanvasRenderingContext2D, text: string, left: number, top: number, colours: Colours) {
  const wide = ctx.measureText(text).width;
  ctx.fillStyle = colours.surface;
  ctx.fillRect(left - 2, top + 3, wide + 4, BAR - 6);
  ctx.fillStyle = colours.text;
  ctx.fillText(text, left, top + BAR / 2 + 0.5);
}

function drawMarks(
  ctx: CanvasRenderingContext2D,
  lane: Lane,
  axis: Axis,
  x: (i: number) => number,
  cell: number,
  top: number,
  colours: Colours,
) {
  const rule = (index: number, dash: number[], wide: number) => {
    if (index < axis.low) return;
    const at = x(Math.min(index, axis.high)) + cell;
    ctx.setLineDash(dash);
    ctx.lineWidth = wide;
    ctx.strokeStyle = colours.text;
    ctx.beginPath();
    ctx.moveTo(at, top - 4);
    ctx.lineTo(at, top + BAR + 4);
    ctx.stroke();
    ctx.setLineDash([]);
  };
  rule(lane.durable, [1, 2], 1.5);
  rule(lane.commit, [4, 2], 1.5);
  rule(lane.applied, [], 1.5);
  if (lane.last >= axis.low) {
    const at = x(Math.min(lane.last, axis.high)) + cell + 1;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    ctx.moveTo(at, top + 3);
    ctx.lineTo(at + 6, top + BAR / 2);
    ctx.lineTo(at, top + BAR - 3);
    ctx.stroke();
  }
}
