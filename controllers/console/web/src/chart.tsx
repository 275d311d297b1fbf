// A time line, drawn by uPlot.
import uPlot from 'uplot'
import { useEffect, useRef } from 'preact/hooks'

export interface Curve { name: string; color: string; values: (number | null)[]; format: (n: number | null | undefined) => string }

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

export function Chart({ title, at, curves, height = 120 }: { title: string; at: number[]; curves: Curve[]; height?: number }) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const latest = useRef({ at, curves })
  latest.current = { at, curves }
  const shape = curves.map((c) => c.name + c.color).join()

  useEffect(() => {
    const draw = () => {
      if (!box.current) return // the page has changed meanwhile
      plot.current?.destroy()
      const format = latest.current.curves[0]!.format
      const axis = { stroke: css('--faint'), grid: { stroke: css('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
      plot.current = new uPlot({
        width: box.current!.clientWidth, height, legend: { show: false }, cursor: { y: false, points: { size: 6 } },
        scales: { y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [{ ...axis, size: 24, space: 70, values: (u, v) => v.map((t) => new Date(t * 1000).toTimeString().slice(0, (u.scales.x!.max ?? 0) - (u.scales.x!.min ?? 0) < 600 ? 8 : 5)) }, { ...axis, size: 62, space: 30, values: (_u, v) => v.map((n) => format(n)) }],
        series: [{}, ...latest.current.curves.map((c) => ({ stroke: css(c.color), width: 1.5, points: { show: false }, spanGaps: false }))],
      }, data(latest.current), box.current!)
    }
    draw()
    const resized = new ResizeObserver(() => box.current && plot.current?.setSize({ width: box.current.clientWidth, height }))
    resized.observe(box.current!)
    const dark = matchMedia('(prefers-color-scheme: dark)')
    dark.addEventListener('change', draw)
    addEventListener('themechange', draw)
    return () => {
      resized.disconnect()
      dark.removeEventListener('change', draw)
      removeEventListener('themechange', draw)
      plot.current?.destroy()
      plot.current = null
    }
  }, [shape, height])

  useEffect(() => { plot.current?.setData(data(latest.current)) }, [at, curves])

  const summary = curves.map((c) => `${c.name}: ${c.format(c.values.at(-1))}`).join(', ')
  return <figure class="chart">
    <figcaption><span>{title}</span>{curves.map((c) => <span key={c.name} class={`key key${c.color}`}><span aria-hidden="true">━</span> {c.name} <b class="num">{c.format(c.values.at(-1))}</b></span>)}</figcaption>
    <div ref={box} role="img" aria-label={`${title}, now ${summary}`} style={{ height: `${height}px` }} />
  </figure>
}

const data = (d: { at: number[]; curves: Curve[] }): uPlot.AlignedData => [d.at, ...d.curves.map((c) => c.values)]
