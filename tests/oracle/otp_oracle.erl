%% Runs traces on OTP's own supervisor and tells what it did. Started once by otp.py; speaks Erlang
%% terms in, JSON out, in packets with a length of four bytes, and ends when its stdin closes.
%%
%% Needs `+S 1`: with one scheduler a message is in its receiver's queue before anybody else runs, so
%% the recorder's queue is the order in which things happened.
-module(otp_oracle).
-export([main/0, log/2]).
-export([start_child/1, start_dynamic/2, worker/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% #state{} of supervisor.erl in OTP 25 to 27: the place of the restart times, for the clock.
-define(RESTARTS, 8).
-define(PATIENCE_MS, 10000).

-record(r, {
    log = [],       % newest first: [init | fail | held | overtook, Path, Life] | [exit, Path, Life, Reason]
    lives = #{},    % Path => how often it was started
    dynamic = #{},  % Pid => true of supervisors that are simple_one_for_one
    last = #{},     % Path => Pid of all that ever ran; a dynamic child is named to OTP by its pid
    here = #{},     % Pid => {worker | supervisor, Path, Life} of all that run
    at = #{},       % Path => Pid of all that run
    fails = #{},    % Path => [hooks of each start that is to fail]
    held = #{},     % Path => true: an operator stopped it
    calls = #{},    % Ref => {Key, Sup, Op, Path}: admin calls without an answer
    answers = [],   % [Op, Path, Answer], in order
    late = #{},     % Ref => reply that came while a hook waited for a death
    escalated = #{},% Pid => true: its supervisor report said so
    nobody,         % a pid that is dead and never was a child
    options}).

main() ->
    erlang:system_flag(backtrace_depth, 60),
    logger:remove_handler(default),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => error}),
    Port = open_port({fd, 0, 1}, [binary, {packet, 4}, eof]),
    Version = filelib:wildcard(filename:join([code:root_dir(), "releases", "*", "OTP_VERSION"])),
    Otp = case Version of
        [File | _] -> {ok, Text} = file:read_file(File), string:trim(Text);
        [] -> list_to_binary(erlang:system_info(otp_release))
    end,
    port_command(Port, json([Otp])),
    serve(Port).

serve(Port) ->
    receive
        {Port, {data, Text}} ->
            {ok, Tokens, _} = erl_scan:string(binary_to_list(Text) ++ "."),
            {ok, Request} = erl_parse:parse_term(Tokens),
            {Pid, Mon} = spawn_monitor(fun() -> exit({done, trace(Request)}) end),
            receive
                {'DOWN', Mon, process, Pid, {done, Answer}} -> port_command(Port, json(Answer));
                {'DOWN', Mon, process, Pid, Crash} ->
                    port_command(Port, json([error, iolist_to_binary(io_lib:format("~0p", [Crash]))]))
            end,
            serve(Port);
        {Port, eof} -> halt(0)
    end.

%% ---- one trace -----------------------------------------------------------------------------------

%% Gives [ticks, stalled, [step]]: ticks is how far OTP's own clock of whole seconds moved meanwhile, stalled
%% the milliseconds for which the machine stood still at most.
trace({Options, Tree, Fails, Events}) ->
    Begin = erlang:monotonic_time(1),
    Rec = self(),
    Metronome = spawn_opt(fun() -> metronome(erlang:monotonic_time(millisecond), 0) end, [link, {priority, high}]),
    Top = spawn_link(fun() -> top(Rec, Tree, Options) end),
    Nobody = spawn(fun() -> ok end),
    S0 = fails(Fails, #r{options = Options, nobody = Nobody}),
    S1 = wait_for(fun({top_started, _}) -> true; (_) -> false end, S0),
    {First, S2} = step(S1),
    {Steps, S3} = lists:mapfoldl(fun(Event, S) -> step(event(Event, S)) end, S2, Events),
    Top ! stop,
    S4 = wait_for(fun(top_stopped) -> true; (_) -> false end, S3),
    {Last, _} = step(S4),
    Metronome ! {stop, self()},
    Stalled = receive {stalled, Ms} -> Ms end,
    [erlang:monotonic_time(1) - Begin, Stalled, [First | Steps] ++ [Last]].

%% Tells for how long this machine stood still at most: limits that run out are in real time.
metronome(Last, Longest) ->
    receive {stop, From} -> unlink(From), From ! {stalled, Longest}
    after 1 ->
        Now = erlang:monotonic_time(millisecond),
        metronome(Now, max(Longest, Now - Last))
    end.

%% The parent of the root, as an application master would be.
top(Rec, Tree, Options) ->
    process_flag(trap_exit, true),
    case start_child({<<>>, permanent, Tree, Rec, Options}) of
        {ok, Pid} ->
            Rec ! {top_started, Pid},
            receive
                stop -> exit(Pid, shutdown), receive {'EXIT', Pid, _} -> ok end;
                {'EXIT', Pid, _} -> receive stop -> ok end
            end;
        {error, _} ->
            Rec ! {top_started, none},
            receive stop -> ok end
    end,
    Rec ! top_stopped,
    exit(normal).

%% What happened until all was quiet, and how things are now.
step(S0) ->
    {Rows, S} = quiet(S0),
    {[lists:reverse(S#r.log), lists:reverse(S#r.answers), Rows], S#r{log = [], answers = []}}.

event({exit, Path, How}, S) -> ends(Path, How, S);
event({fail, Path, Hooks}, S) -> fails([{Path, Hooks}], S);
event({advance, Seconds}, S) ->
    Shift = fun(State) -> setelement(?RESTARTS, State, [T - Seconds || T <- element(?RESTARTS, State)]) end,
    [sys:replace_state(Pid, Shift) || {Pid, {supervisor, _, _}} <- maps:to_list(S#r.here)],
    S;
event({call, Sup, Call}, S) -> call(Sup, Call, S);
event({together, Sup, Happens}, S0) ->
    case supervisor_at(Sup, S0) of
        Pid when is_pid(Pid) ->
            ok = sys:suspend(Pid),
            S1 = lists:foldl(fun hook/2, S0, Happens),
            sys:replace_state(Pid, fun(State) -> overtake(Sup, get(recorder), S0#r.options), State end),
            ok = sys:resume(Pid),
            S1;
        none -> S0
    end.

%% Runs in a supervisor, and moves what is in its mailbox up to the last exit ahead of the calls there.
overtake(Path, Rec, #{overtake := true}) ->
    Messages = mailbox(),
    {After, Before} = lists:splitwith(fun(M) -> not is_exit(M) end, lists:reverse(Messages)),
    {Calls, Others} = lists:partition(fun is_call/1, lists:reverse(Before)),
    Ordered = Others ++ Calls ++ lists:reverse(After),
    [Rec ! {overtook, Path} || Ordered =/= Messages],
    [self() ! Message || Message <- Ordered],
    ok;
overtake(_, _, _) -> ok.

mailbox() -> receive Message -> [Message | mailbox()] after 0 -> [] end.

is_exit({'EXIT', _, _}) -> true;
is_exit(_) -> false.

is_call({'$gen_call', _, _}) -> true;
is_call(_) -> false.

fails(Pairs, S) ->
    S#r{fails = lists:foldl(fun({Path, Hooks}, F) -> F#{Path => maps:get(Path, F, []) ++ Hooks} end, S#r.fails, Pairs)}.

%% Ends what runs at that path, and waits for its death so that the next thing comes after it.
ends(Path, How, S) ->
    case S#r.at of
        #{Path := Pid} ->
            case {How, maps:get(Pid, S#r.here)} of
                {kill, _} -> exit(Pid, kill);
                {_, {worker, _, _}} -> Pid ! {ends, How};
                {_, _} -> ok
            end,
            case How =:= kill orelse element(1, maps:get(Pid, S#r.here)) =:= worker of
                true -> wait_until(fun(R) -> not maps:is_key(Pid, R#r.here) end, S);
                false -> S
            end;
        #{} -> S
    end.

%% Sends an admin call as gen_server:call would, without waiting; `quiet` waits.
call(Sup, {Op, Path, Call}, S) ->
    case supervisor_at(Sup, S) of
        Pid when is_pid(Pid) ->
            case refer(Call, Path, maps:is_key(Pid, S#r.dynamic), S) of
                misfit -> S#r{answers = [[Op, Path, misfit] | S#r.answers]};
                Request ->
                    Ref = make_ref(),
                    Pid ! {'$gen_call', {self(), Ref}, Request},
                    S#r{calls = (S#r.calls)#{Ref => {Op, Pid, Path}}}
            end;
        none -> S#r{answers = [[Op, Path, gone] | S#r.answers]}
    end.

%% A temporary supervisor that has gone may be followed by a worker of its name, which understands none of this.
supervisor_at(Path, #r{at = At, here = Here}) ->
    case At of
        #{Path := Pid} when is_map_key(Pid, Here) ->
            case map_get(Pid, Here) of {supervisor, _, _} -> Pid; _ -> none end;
        #{} -> none
    end.

%% The request for this sort of supervisor; misfit where a start is meant for the other sort.
refer({start_child, Args}, _, true, _) -> {start_child, Args};
refer({start_child, _}, _, false, _) -> misfit;
refer({start_child, _, _}, _, true, _) -> misfit;
refer({Word, _}, Path, true, S) -> {Word, maps:get(Path, S#r.last, S#r.nobody)};
refer({start_child, Path, Kid}, _, false, S) -> {start_child, child_spec(parent(Path), Kid, self(), S#r.options)};
refer(Call, _, false, _) -> Call.

parent(Path) ->
    case string:split(Path, <<"/">>, trailing) of [Above, _] -> Above; [_] -> <<>> end.

%% ---- the recorder --------------------------------------------------------------------------------

%% Returns when nothing is under way: every supervisor has answered twice with nothing in between, none
%% waits for a retry, and all that run are children of those who answered.
quiet(S0) ->
    S1 = wait_until(fun(S) -> S#r.calls =:= #{} end, drain(S0)),
    Sups = lists:sort([{Path, Pid} || {Pid, {supervisor, Path, _}} <- maps:to_list(S1#r.here)]),
    {Answers, S2} = lists:mapfoldl(fun look/2, S1, Sups),
    S3 = drain(S2),
    Same = S3#r.log =:= S1#r.log andalso S3#r.here =:= S1#r.here andalso S3#r.answers =:= S1#r.answers,
    case Same andalso not lists:member(gone, Answers) andalso settled(Answers, S3) of
        true -> {[rows(Answer, S3) || Answer <- Answers], S3};
        false -> quiet(S3);
        orphans -> quiet(take(S3))
    end.

look({Path, Pid}, S0) ->
    case ask(Pid, which_children, S0) of
        {gone, S1} -> {gone, S1};
        {Children, S1} ->
            case ask(Pid, count_children, S1) of
                {gone, S2} -> {gone, S2};
                {Counts, S2} -> {{Path, lists:reverse(Children), Counts}, S2}
            end
    end.

ask(Pid, Request, #r{here = Here} = S) when is_map_key(Pid, Here) ->
    Ref = make_ref(),
    Pid ! {'$gen_call', {self(), Ref}, Request},
    ask_reply(Pid, Ref, S);
ask(_, _, S) -> {gone, S}.

ask_reply(_, Ref, #r{late = Late} = S) when is_map_key(Ref, Late) ->
    {Reply, Rest} = maps:take(Ref, Late),
    {Reply, S#r{late = Rest}};
ask_reply(Pid, Ref, S) ->
    receive
        {Ref, Reply} -> {Reply, S};
        Message ->
            Next = note(Message, S),
            case maps:is_key(Pid, Next#r.here) of
                true -> ask_reply(Pid, Ref, Next);
                false -> {gone, Next}
            end
    after ?PATIENCE_MS -> exit({no_answer_from, maps:get(Pid, S#r.here)})
    end.

settled(Answers, S) ->
    Pids = [Pid || {_, Children, _} <- Answers, {_, Pid, _, _} <- Children],
    Root = [Pid || #{<<>> := Pid} <- [S#r.at]],
    Running = lists:sort(Root ++ [Pid || Pid <- Pids, is_pid(Pid)]),
    case {lists:member(restarting, Pids), Running =:= lists:sort(maps:keys(S#r.here))} of
        {true, _} -> false;
        {false, true} -> true;
        {false, false} -> orphans
    end.

rows({Path, Children, Counts}, S) ->
    Rows = [row(name(Id, Pid, S), Pid, S) || {Id, Pid, _, _} <- Children],
    [Path, case Children of [{undefined, _, _, _} | _] -> lists:sort(Rows); _ -> Rows end,
     [proplists:get_value(Key, Counts) || Key <- [specs, active, supervisors, workers]]].

%% OTP gives dynamic children no ids.
name(undefined, Pid, S) -> {_, Path, _} = maps:get(Pid, S#r.here), lists:last(string:split(Path, <<"/">>, all));
name(Id, _, _) -> Id.

row(Id, undefined, _) -> [Id, down, 0];
row(Id, Pid, S) -> {_, _, Life} = maps:get(Pid, S#r.here), [Id, running, Life].

drain(S) ->
    receive Message -> drain(note(Message, S)) after 0 -> S end.

take(S) ->
    receive Message -> note(Message, S) after ?PATIENCE_MS -> exit({never_quiet, S}) end.

wait_until(Holds, S) ->
    case Holds(S) of true -> S; false -> wait_until(Holds, take(S)) end.

wait_for(Wanted, S) ->
    receive
        Message -> case Wanted(Message) of true -> S; false -> wait_for(Wanted, note(Message, S)) end
    after ?PATIENCE_MS -> exit({never_came, S})
    end.

note({start, From, Ref, Path, How}, S) ->
    case S of
        #r{held = #{Path := true}} when How =:= restart ->
            From ! {Ref, held},
            logged([held, Path, maps:get(Path, S#r.lives)], S);
        #r{fails = #{Path := [Hook | Hooks]} = Fails} ->
            Next = logged([fail, Path, life(Path, S)], begun(Path, S#r{fails = Fails#{Path := Hooks}})),
            Hooked = case How of restart -> hook(Hook, Next); _ -> Next end,
            From ! {Ref, fail},
            Hooked;
        #r{held = Held} ->
            Next = logged([init, Path, life(Path, S)], begun(Path, S)),
            From ! {Ref, go},
            Next#r{held = maps:remove(Path, Held)}
    end;
note({up, From, Ref, Kind, Path, Pid}, S) ->
    monitor(process, Pid),
    From ! {Ref, noted},
    Life = maps:get(Path, S#r.lives),
    S#r{here = (S#r.here)#{Pid => {Kind, Path, Life}}, at = (S#r.at)#{Path => Pid}, last = (S#r.last)#{Path => Pid}};
note({'DOWN', _, process, Pid, Reason}, S) ->
    #{Pid := {_, Path, Life}} = S#r.here,
    At = case S#r.at of #{Path := Pid} -> maps:remove(Path, S#r.at); Other -> Other end,
    {Lost, Calls} = lists:partition(fun({_, {_, Sup, _}}) -> Sup =:= Pid end, maps:to_list(S#r.calls)),
    Gone = [[Op, Of, gone] || {_, {Op, _, Of}} <- Lost],
    Next = S#r{here = maps:remove(Pid, S#r.here), at = At, calls = maps:from_list(Calls), answers = Gone ++ S#r.answers},
    case Reason of
        %% It never was up. Its parent may have gone on before this process was gone, so the moment says nothing.
        {shutdown, {failed_to_start_child, _, _}} -> Next;
        _ -> logged([exit, Path, Life, word(Reason, maps:is_key(Pid, S#r.escalated))], Next)
    end;
note({overtook, Path}, S) -> logged([overtook, Path, maps:get(Path, S#r.lives)], S);
note({dynamic, Pid}, S) -> S#r{dynamic = (S#r.dynamic)#{Pid => true}};
note({escalated, Pid}, S) -> S#r{escalated = (S#r.escalated)#{Pid => true}};
note({Ref, Reply}, #r{calls = Calls} = S) when is_map_key(Ref, Calls) ->
    {{Op, Sup, Path}, Rest} = maps:take(Ref, Calls),
    Held = case {Op, Reply, maps:get(hold, S#r.options) andalso not maps:is_key(Sup, S#r.dynamic)} of
        {stop, ok, true} -> (S#r.held)#{Path => true};
        _ -> S#r.held
    end,
    S#r{calls = Rest, held = Held, answers = [[Op, Path, answer(Reply)] | S#r.answers]};
note({Ref, Reply}, S) when is_reference(Ref) -> S#r{late = (S#r.late)#{Ref => Reply}}.

hook({exit, Path, How}, S) -> ends(Path, How, S);
hook({call, Sup, Call}, S) -> call(Sup, Call, S);
hook(none, S) -> S.

life(Path, S) -> maps:get(Path, S#r.lives, 0) + 1.

begun(Path, S) -> S#r{lives = (S#r.lives)#{Path => life(Path, S)}}.

logged(Entry, S) -> S#r{log = [Entry | S#r.log]}.

word(normal, _) -> normal;
word(shutdown, true) -> escalated_as_shutdown;
word(escalated, true) -> escalated;
word(shutdown, false) -> shutdown;
word({shutdown, _}, false) -> shutdown;
word(killed, _) -> killed;
word(_, _) -> crashed.

answer(ok) -> ok;
answer({ok, Spec}) when is_map(Spec) -> [spec | [maps:get(Key, Spec) || Key <- [restart, significant, shutdown, type]]];
answer({ok, Pid}) when is_pid(Pid) -> ok;
answer({error, {already_started, _}}) -> already_started;
answer({error, {bad_combination, _}}) -> bad_spec;
answer({error, told_to_fail}) -> failed;
answer({error, Word}) when is_atom(Word) -> Word;
answer({error, _}) -> failed.

%% ---- what is supervised --------------------------------------------------------------------------

child_spec(Above, {Id, Restart, Significant, Shutdown, Target}, Rec, Options) ->
    Path = join(Above, Id),
    Spec = #{id => Id, restart => Restart, significant => Significant,
             type => case Target of {sup, _, _, _, _, _} -> supervisor; _ -> worker end,
             start => {?MODULE, start_child, [{Path, Restart, Target, Rec, Options}]}},
    case Shutdown of default -> Spec; _ -> Spec#{shutdown => Shutdown} end.

dynamic_spec(Path, Kid, Rec, Options) ->
    {_, Restart, _, _, Target} = Kid,
    Spec = child_spec(Path, Kid, Rec, Options),
    Spec#{start => {?MODULE, start_dynamic, [{Path, Restart, Target, Rec, Options}]}}.

join(<<>>, Id) -> Id;
join(Above, Id) -> <<Above/binary, "/", Id/binary>>.

%% Runs in the supervisor, as every start function does.
start_child({Path, Restart, Target, Rec, Options}) ->
    case sync(Rec, {start, Path, how()}) of
        held -> ignore;
        fail -> overtake(parent(Path), Rec, Options), {error, told_to_fail};
        go -> start_child(Target, Path, Restart, Rec, Options)
    end.

%% The same of a dynamic child, whose name is the argument that the call hands over.
start_dynamic({Above, Restart, Target, Rec, Options}, Name) ->
    start_child({join(Above, Name), Restart, Target, Rec, Options}).

start_child({sup, _, _, _, _, _} = Sup, Path, transient, Rec, #{escalate := true} = Options) ->
    gen_server:start_link(?MODULE, {escalating, {Path, Sup, Rec, Options}}, []);
start_child({sup, _, _, _, _, _} = Sup, Path, _, Rec, Options) ->
    supervisor:start_link(?MODULE, {Path, Sup, Rec, Options});
start_child(Kind, Path, _, Rec, _) ->
    Pid = spawn_link(?MODULE, worker, [Kind, self()]),
    noted = sync(Rec, {up, worker, Path, Pid}),
    {ok, Pid}.

%% Why a start function runs can only be seen on the stack: OTP tells it nothing.
how() ->
    {current_stacktrace, Stack} = process_info(self(), current_stacktrace),
    Frames = [F || {supervisor, F, _, _} <- Stack],
    case {lists:member(handle_call, Frames), lists:member(handle_info, Frames) orelse lists:member(handle_cast, Frames)} of
        {true, _} -> call;
        {_, true} -> restart;
        _ -> init
    end.

sync(Rec, Message) ->
    Ref = make_ref(),
    [Tag | Rest] = tuple_to_list(Message),
    Rec ! list_to_tuple([Tag, self(), Ref | Rest]),
    receive {Ref, Answer} -> Answer end.

worker(plain, _) -> receive {ends, How} -> exit(reason(How)) end;
worker(Kind, Parent) ->
    process_flag(trap_exit, true),
    trapping(Kind, Parent).

trapping(Kind, Parent) ->
    receive
        {ends, How} -> exit(reason(How));
        {'EXIT', Parent, shutdown} when Kind =:= stubborn -> trapping(Kind, Parent);
        {'EXIT', Parent, _} -> exit(sour)
    end.

reason(normal) -> normal;
reason(shutdown) -> shutdown;
reason(detail) -> {shutdown, detail};
reason(error) -> error.

%% The supervisor's own callback, and that of `escalating` around it.
init({escalating, Args}) -> supervisor:init({self, ?MODULE, Args});
init({Path, {sup, Strategy, Max, Within, Auto, Kids}, Rec, Options}) ->
    put(recorder, Rec),
    [Rec ! {dynamic, self()} || Strategy =:= simple_one_for_one],
    noted = sync(Rec, {up, supervisor, Path, self()}),
    Flags = #{strategy => Strategy, intensity => Max, period => Within, auto_shutdown => Auto},
    Make = case Strategy of simple_one_for_one -> fun dynamic_spec/4; _ -> fun child_spec/4 end,
    {ok, {Flags, [Make(Path, Kid, Rec, Options) || Kid <- Kids]}}.

%% OTP's supervisor in every callback; only `shutdown` after too many restarts becomes `escalated`.
handle_call(Request, From, State) -> supervisor:handle_call(Request, From, State).
handle_cast(Request, State) -> escalating(supervisor:handle_cast(Request, State)).
handle_info(Info, State) -> escalating(supervisor:handle_info(Info, State)).
terminate(Reason, State) -> supervisor:terminate(Reason, State).

escalating({stop, shutdown, State}) ->
    {stop, case get(escalated) of true -> escalated; _ -> shutdown end, State};
escalating(Result) -> Result.

%% A handler of logger runs in the process that logs: here in the supervisor that gives up.
log(#{msg := {report, #{label := {supervisor, shutdown}, report := Report}}}, _) ->
    case lists:keyfind(reason, 1, Report) of
        {reason, reached_max_restart_intensity} -> put(escalated, true), get(recorder) ! {escalated, self()};
        _ -> ok
    end;
log(_, _) -> ok.

%% ---- JSON ----------------------------------------------------------------------------------------

json(X) when is_integer(X) -> integer_to_list(X);
json(true) -> "true";
json(false) -> "false";
json(X) when is_atom(X) -> json(atom_to_binary(X));
json(X) when is_binary(X) -> [$", string:replace(string:replace(X, "\\", "\\\\", all), "\"", "\\\"", all), $"];
json([]) -> "[]";
json([X | Xs]) -> [$[, json(X), [[$,, json(Y)] || Y <- Xs], $]].
