import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { get } from "../api";
import { Failure, Head, Loading } from "./basics";

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
export function Answered<T>(props: { title: string; of: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  const { title, of, children } = props;
  return of.data !== undefined ? children(of.data) : <Unanswered title={title} error={of.error} />;
}

/** A page of which nothing is known yet: why, where something is in the way. */
export function Unanswered({ title, error }: { title: string; error: Error | null }) {
  if (!error) return <Loading />;
  return (
    <>
      <Head title={title} />
      <Failure error={error} />
    </>
  );
}
