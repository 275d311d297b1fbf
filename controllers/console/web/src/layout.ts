// Where things stand in the graph: layers from left to right, by dagre.
import dagre from '@dagrejs/dagre'
import type { Graph } from './api'

export interface Box { x: number; y: number; width: number; height: number }
export interface NodeBox extends Box { id: string; kind: 'ingress' | 'stage' | 'end'; stage: number; label: string; ends: number[] }
export interface EdgeLine { index: number; path: string; label: Box }
export interface Drawing { width: number; height: number; nodes: NodeBox[]; edges: EdgeLine[] }

export const sizes = { stage: { width: 192, height: 88 }, ingress: { width: 92, height: 48 }, end: { width: 150, height: 48 }, label: { width: 92, height: 44 } }

// What nobody reads: insights end together, dead letters are numbers of their stage, other ports end alone.
export const ending = (port: string) => port === 'insights' ? 'end:insights' : null

export function layout(g: Graph, down: boolean): Drawing {
  const d = new dagre.graphlib.Graph({ multigraph: true })
  d.setGraph({ rankdir: down ? 'TB' : 'LR', nodesep: 22, ranksep: 18, edgesep: 14, marginx: 12, marginy: 12 })
  d.setDefaultEdgeLabel(() => ({}))
  d.setNode('ingress', { ...sizes.ingress })
  g.stages.forEach((s) => d.setNode(`stage:${s.name}`, { ...sizes.stage }))
  const names = new Map<string, { label: string; ends: number[] }>()
  const drawn: number[] = []
  g.edges.forEach((e, i) => {
    const from = e.from === 'ingress' ? 'ingress' : `stage:${e.from}`
    let to = e.to ? `stage:${e.to}` : ''
    if (!to) {
      if (e.port === 'dead-letter' || e.port === 'overflow') return
      to = ending(e.port) ?? `end:${i}`
      const end = names.get(to) ?? { label: e.port === 'out' ? (e.stream ?? 'out') : e.port, ends: [] }
      end.ends.push(i)
      names.set(to, end)
      if (!d.hasNode(to)) d.setNode(to, { ...sizes.end })
    }
    if (!d.hasNode(from) || !d.hasNode(to)) return
    d.setEdge(from, to, { ...sizes.label, labelpos: 'c' }, String(i))
    drawn.push(i)
  })
  dagre.layout(d)
  const nodes = d.nodes().map((id): NodeBox => {
    const n = d.node(id) as unknown as Box
    const kind = id === 'ingress' ? 'ingress' : id.startsWith('stage:') ? 'stage' : 'end'
    const end = names.get(id)
    return {
      id, kind, x: n.x - n.width / 2, y: n.y - n.height / 2, width: n.width, height: n.height,
      stage: kind === 'stage' ? g.stages.findIndex((s) => `stage:${s.name}` === id) : -1,
      label: end?.label ?? (kind === 'ingress' ? 'ingress' : id.slice(6)), ends: end?.ends ?? [],
    }
  })
  const edges = d.edges().map((key): EdgeLine => {
    const e = d.edge(key) as unknown as { points: { x: number; y: number }[]; x: number; y: number; width: number; height: number }
    return { index: Number(key.name), path: curve(e.points), label: { x: e.x - e.width / 2, y: e.y - e.height / 2, width: e.width, height: e.height } }
  })
  const size = d.graph() as { width?: number; height?: number }
  return { width: size.width ?? 0, height: size.height ?? 0, nodes, edges }
}

// curve is a smooth line through the points.
function curve(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points
  if (!first) return ''
  let path = `M${r(first.x)},${r(first.y)}`
  for (let i = 0; i < rest.length; i++) {
    const p = rest[i]!, next = rest[i + 1]
    if (!next) path += ` L${r(p.x)},${r(p.y)}`
    else path += ` Q${r(p.x)},${r(p.y)} ${r((p.x + next.x) / 2)},${r((p.y + next.y) / 2)}`
  }
  return path
}

const r = (n: number) => Math.round(n * 10) / 10
