// Numbers with units, and times.

const none = '–'

export function count(n: number | null | undefined): string {
  if (n === null || n === undefined) return none
  if (Math.abs(n) < 10 && n % 1 !== 0) return trim(n, 1)
  if (Math.abs(n) < 10_000) return Math.round(n).toLocaleString('en')
  return scaled(n, ['', ' k', ' M', ' G', ' T'], 1000)
}

export function rate(n: number | null | undefined): string {
  if (n === null || n === undefined) return none
  if (n === 0) return '0/s'
  if (n < 0.1) return `${trim(n * 60, 1)}/min`
  if (n < 10) return `${trim(n, 1)}/s`
  return `${count(n)}/s`
}

export const bytes = (n: number | null | undefined): string =>
  n === null || n === undefined ? none : scaled(n, [' B', ' KiB', ' MiB', ' GiB', ' TiB'], 1024)

function scaled(n: number, units: string[], by: number): string {
  let i = 0
  while (Math.abs(n) >= by && i < units.length - 1) { n /= by; i++ }
  return trim(n, i === 0 || n >= 100 ? 0 : 1) + units[i]
}

const trim = (n: number, digits: number) => n.toFixed(digits).replace(/\.0$/, '')

export function duration(s: number | null | undefined): string {
  if (s === null || s === undefined) return none
  if (s < 0) return `-${duration(-s)}`
  if (s === 0) return '0 s'
  if (s < 0.001) return `${trim(s * 1e6, 0)} µs`
  if (s < 1) return `${trim(s * 1e3, s < 0.01 ? 1 : 0)} ms`
  if (s < 60) return `${trim(s, s < 10 ? 1 : 0)} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`
}

const pad = (n: number, digits = 2) => String(n).padStart(digits, '0')

// clock is the time of day, with the date when it is another day.
export function clock(iso: string | undefined, milliseconds = false): string {
  if (!iso) return none
  const t = new Date(iso)
  if (Number.isNaN(t.getTime()) || t.getTime() <= 0) return none
  const time = `${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}${milliseconds ? `.${pad(t.getMilliseconds(), 3)}` : ''}`
  if (t.toDateString() === new Date().toDateString()) return time
  return `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())} ${time}`
}

export function ago(iso: string | undefined, now: number): string {
  if (!iso) return none
  const s = (now - new Date(iso).getTime()) / 1000
  if (s < 2) return 'now'
  if (s < 60) return `${Math.floor(s)} s ago`
  if (s < 3600) return `${Math.floor(s / 60)} min ago`
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`
  return `${Math.floor(s / 86400)} d ago`
}

export const plural = (n: number, one: string, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`
