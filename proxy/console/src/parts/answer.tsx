import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { get } from "../api";
import { Failure, Loading } from "./basics";

/** What the API says at a path, asked again every so many milliseconds. */
export function useAnswer<T>(path: string, options: { query?: Record<string, string>; every?: number; enabled?: boolean } = {}) {
  const { query = {}, every, enabled } = options;
  return useQuery({
    queryKey: [path, query],
    queryFn: () => get<T>(path, new URLSearchParams(query)),
    refetchInterval: every,
    enabled,
  });
}

/** What is shown of an answer once it is there; why there is none, where there is none. */
export function Answered<T>({ of, children }: { of: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  if (of.data !== undefined) return children(of.data);
  return of.error ? <Failure error={of.error} /> : <Loading />;
}
