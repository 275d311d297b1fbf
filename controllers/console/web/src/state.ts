// Addresses that hold all state of a page, and hooks that ask the server.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { Failure, follow, get, type Name, type Problem } from './api'

export interface Place { path: string; query: URLSearchParams }
const here = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) })
const watchers = new Set<() => void>()

export function go(url: string, replace = false) {
  if (url === location.pathname + location.search) return
  if (replace) history.replaceState(null, '', url)
  else history.pushState(null, '', url)
  watchers.forEach((w) => w())
}

export function usePlace(): Place {
  const [place, set] = useState(here)
  useEffect(() => {
    const moved = () => set(here())
    watchers.add(moved)
    addEventListener('popstate', moved)
    return () => { watchers.delete(moved); removeEventListener('popstate', moved) }
  }, [])
  return place
}

// setQuery changes members of the address; empty ones leave it.
export function setQuery(changes: Record<string, string | undefined>, replace = false) {
  go(address(location.pathname, new URLSearchParams(location.search), changes), replace)
}

export function address(path: string, query: URLSearchParams, changes: Record<string, string | undefined>): string {
  const q = new URLSearchParams(query)
  for (const [k, v] of Object.entries(changes)) {
    if (v) q.set(k, v)
    else q.delete(k)
  }
  const s = q.toString()
  return s ? `${path}?${s}` : path
}

export const pageOf = (of: Name, page = '') => `/p/${encodeURIComponent(of.namespace)}/${encodeURIComponent(of.name)}${page && `/${page}`}`

const problemOf = (e: unknown): Problem =>
  e instanceof Failure ? e.problem : { status: 0, reason: 'Broken', message: String(e), do: 'Load the page again.' }

export interface Answer<T> { data?: T; problem?: Problem; loading: boolean; reload: () => void }

// useGet asks once, and again when the address changes. What was there stays until the new answer comes.
export function useGet<T>(url: string | null): Answer<T> {
  const [state, set] = useState<{ url?: string | null; data?: T; problem?: Problem; loading: boolean }>({ loading: url !== null })
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    if (url === null) { set({ loading: false }); return }
    const abort = new AbortController()
    set((s) => ({ ...s, loading: true }))
    get<T>(url, abort.signal).then(
      (data) => set({ url, data, loading: false }),
      (e) => { if (!abort.signal.aborted) set((s) => ({ ...(s.url === url && s.data ? { data: s.data } : {}), url, problem: problemOf(e), loading: false })) },
    )
    return () => abort.abort()
  }, [url, turn])
  const reload = useCallback(() => setTurn((n) => n + 1), [])
  return { ...state, reload }
}

export type Line = 'connecting' | 'live' | 'paused' | 'ended' | 'lost'

// useVisible tells whether anybody looks: a page in the background asks nothing.
export function useVisible(): boolean {
  const [visible, set] = useState(!document.hidden)
  useEffect(() => {
    const changed = () => set(!document.hidden)
    document.addEventListener('visibilitychange', changed)
    return () => document.removeEventListener('visibilitychange', changed)
  }, [])
  return visible
}

// useLive follows a stream while the page is visible, and connects again when it breaks.
export function useLive(url: string | null, on: (kind: string, data: unknown) => void, again = true): { line: Line; problem?: Problem } {
  const [state, set] = useState<{ line: Line; problem?: Problem }>({ line: 'connecting' })
  const visible = useVisible()
  const handler = useRef(on)
  handler.current = on
  useEffect(() => {
    if (url === null || !visible) { set({ line: 'paused' }); return }
    const abort = new AbortController()
    let timer = 0, wait = 1000
    const run = () => {
      follow(url, abort.signal, () => { wait = 1000; set({ line: 'live' }) }, (kind, data) => handler.current(kind, data)).then(
        () => set({ line: 'ended' }),
        (e) => {
          if (abort.signal.aborted) return
          const problem = problemOf(e)
          const final = problem.status >= 400 && problem.status < 500 && problem.status !== 429
          set({ line: 'lost', problem })
          if (final || !again) return
          timer = setTimeout(run, wait)
          wait = Math.min(wait * 2, 10_000)
        },
      )
    }
    set((s) => s.line === 'lost' ? s : { line: 'connecting' })
    run()
    return () => { abort.abort(); clearTimeout(timer) }
  }, [url, visible, again])
  return state
}

// useNow ticks, for ages that grow.
export function useNow(every = 1000): number {
  const [now, set] = useState(Date.now())
  const visible = useVisible()
  useEffect(() => {
    if (!visible) return
    set(Date.now())
    const timer = setInterval(() => set(Date.now()), every)
    return () => clearInterval(timer)
  }, [every, visible])
  return now
}

export type Theme = 'auto' | 'light' | 'dark'
export function useTheme(): [Theme, (t: Theme) => void] {
  const [theme, set] = useState<Theme>(() => {
    const saved = localStorage.getItem('millrace-theme')
    return saved === 'light' || saved === 'dark' ? saved : 'auto'
  })
  useEffect(() => {
    if (theme === 'auto') document.documentElement.removeAttribute('data-theme')
    else document.documentElement.setAttribute('data-theme', theme)
    localStorage.setItem('millrace-theme', theme)
    dispatchEvent(new Event('themechange'))
  }, [theme])
  return [theme, set]
}
