// The ports of a pipeline that streams hold.
import { base, type Graph, type Name } from '../api'
import { useGet } from '../state'

export function usePorts(of: Name): { ports: string[]; graph: Graph | undefined } {
  const { data } = useGet<Graph>(`${base(of)}/graph`)
  const ports = new Set(['ingress'])
  data?.edges.forEach((e) => { if (e.stream && e.from !== 'ingress') ports.add(`${e.from}/${e.port}`) })
  data?.stages.forEach((s) => { if (s.ports.includes('dead-letter')) ports.add(`${s.name}/dead-letter`) })
  return { ports: [...ports], graph: data }
}
