//! The waits of a group's coordinator: for members to join, for the leader's assignment, for members' timeouts.
//!
//! The engine's own wait sleeps and polls, forgets members that died, and may give an overdue round to a dead leader.
//! The rounds themselves are the engine's.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
        join_group_response::JoinGroupResponseMember,
    },
    protocol::StrBytes,
};
use noida::kafka::engine::{EngineState, GroupLifecycleState, GroupState};

const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const FENCED_INSTANCE_ID: i16 = 82;

/// Whether to answer now, or the latest time to check again.
pub(crate) enum Progress<T> {
    Answer(T),
    Wait(Instant),
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// The state of the round that `member` has joined with `request`. Its client waits on its connection, so it is alive.
pub(crate) fn joined(
    engine: &mut EngineState,
    request: &JoinGroupRequest,
    member: &StrBytes,
) -> Progress<JoinGroupResponse> {
    let now_ms = engine.now_ms();
    let refuse = |code| {
        let mut response = JoinGroupResponse::default();
        response.error_code = code;
        response.generation_id = -1;
        response.member_id = member.clone();
        Progress::Answer(response)
    };
    let Some(group) = engine.groups.get_mut(&**request.group_id) else { return refuse(UNKNOWN_MEMBER_ID) };
    let Some(me) = group.members.get_mut(&**member) else {
        return refuse(if request.group_instance_id.is_some() {
            FENCED_INSTANCE_ID
        } else {
            UNKNOWN_MEMBER_ID
        });
    };
    me.last_heartbeat_ms = now_ms;
    if group.state == GroupLifecycleState::PreparingRebalance {
        // If a round ended and began again in between, the engine has forgotten the waiting members.
        let protocols = me.protocols.clone();
        group.awaiting_members.entry(member.to_string()).or_insert(protocols);
        let patience = group
            .members
            .values()
            .map(|member| member.rebalance_timeout_ms.max(member.session_timeout_ms))
            .max();
        if now_ms - group.rebalance_start_ms >= i64::from(patience.unwrap_or(0)) {
            let awaiting = &group.awaiting_members;
            group.members.retain(|id, _| awaiting.contains_key(id));
        }
        group.try_complete_join();
    }
    if group.state == GroupLifecycleState::PreparingRebalance {
        let look_again = Instant::now() + Duration::from_secs(1);
        return Progress::Wait(group.initial_until.map_or(look_again, |until| until.min(look_again)));
    }
    Progress::Answer(join_response(group, member))
}

fn join_response(group: &GroupState, member: &StrBytes) -> JoinGroupResponse {
    let mut response = JoinGroupResponse::default();
    response.generation_id = group.generation_id;
    response.protocol_type = Some(text(&group.protocol_type));
    response.protocol_name = Some(text(group.protocol_name.as_deref().unwrap_or_default()));
    response.leader = text(group.leader_id.as_deref().unwrap_or_default());
    response.member_id = member.clone();
    if response.leader == *member {
        response.members = group
            .members
            .values()
            .map(|member| {
                let mut described = JoinGroupResponseMember::default();
                described.member_id = text(&member.member_id);
                described.group_instance_id = member.group_instance_id.as_deref().map(text);
                described.metadata = member
                    .protocols
                    .iter()
                    .find(|(name, _)| Some(name) == group.protocol_name.as_ref())
                    .map(|(_, metadata)| Bytes::copy_from_slice(metadata))
                    .unwrap_or_default();
                described
            })
            .collect();
    }
    response
}

/// State of the rebalance for a `SyncGroup` that has been waiting since `since`.
pub(crate) fn synced(
    engine: &mut EngineState,
    request: &SyncGroupRequest,
    version: i16,
    since: Instant,
) -> Progress<SyncGroupResponse> {
    let now_ms = engine.now_ms();
    let id: &str = &request.member_id;
    if let Some(group) = engine.groups.get_mut(&**request.group_id) {
        let awaits_leader = group.state == GroupLifecycleState::CompletingRebalance
            && request.assignments.is_empty()
            && group.leader_id.as_deref() != Some(id)
            && request.generation_id == group.generation_id;
        if let (true, Some(me)) = (awaits_leader, group.members.get_mut(id)) {
            me.last_heartbeat_ms = now_ms;
            let patience = me.rebalance_timeout_ms.max(me.session_timeout_ms);
            let until = since + Duration::from_millis(u64::try_from(patience).unwrap_or(0));
            if Instant::now() < until {
                return Progress::Wait(until.min(Instant::now() + Duration::from_secs(1)));
            }
            let mut response = SyncGroupResponse::default();
            response.error_code = REBALANCE_IN_PROGRESS;
            return Progress::Answer(response);
        }
    }
    Progress::Answer(engine.handle_sync_group(request, version))
}

/// A heartbeat. A member that learns of a rebalance stays alive, however long its last work takes.
pub(crate) fn heartbeat(
    engine: &mut EngineState,
    request: &HeartbeatRequest,
    version: i16,
) -> HeartbeatResponse {
    let response = engine.handle_heartbeat(request, version);
    let now_ms = engine.now_ms();
    if response.error_code == REBALANCE_IN_PROGRESS
        && let Some(member) = engine
            .groups
            .get_mut(&**request.group_id)
            .and_then(|group| group.members.get_mut(&*request.member_id))
    {
        member.last_heartbeat_ms = now_ms;
    }
    response
}

/// Members leave. The round that begins with this has its full time.
pub(crate) fn leave(
    engine: &mut EngineState,
    request: &LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let preparing = |engine: &EngineState| {
        engine
            .groups
            .get(&**request.group_id)
            .is_some_and(|group| group.state == GroupLifecycleState::PreparingRebalance)
    };
    let was_preparing = preparing(engine);
    let response = engine.handle_leave_group(request, version);
    let now_ms = engine.now_ms();
    if !was_preparing
        && preparing(engine)
        && let Some(group) = engine.groups.get_mut(&**request.group_id)
    {
        group.rebalance_start_ms = now_ms;
    }
    response
}

/// Removes the members that sent nothing for their session's timeout. Returns whether there were any.
pub(crate) fn expire(engine: &mut EngineState) -> bool {
    let now_ms = engine.now_ms();
    let silent: Vec<LeaveGroupRequest> = engine
        .groups
        .values()
        .flat_map(|group| group.members.values().map(move |member| (group, member)))
        .filter(|(_, member)| now_ms - member.last_heartbeat_ms > i64::from(member.session_timeout_ms))
        .map(|(group, member)| {
            let mut request = LeaveGroupRequest::default();
            request.group_id = GroupId(text(&group.group_id));
            request.member_id = text(&member.member_id);
            request
        })
        .collect();
    for request in &silent {
        tracing::info!(
            group = &**request.group_id,
            member = &*request.member_id,
            "a group member sent no heartbeat and is removed"
        );
        leave(engine, request, 0);
    }
    !silent.is_empty()
}
