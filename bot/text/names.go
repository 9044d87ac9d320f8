package text

import (
	"regexp"
	"strings"
)

// Field names one fact of a notice or a page.
type Field int

// The fields, in the order in which a notice gives them.
const (
	Project Field = iota
	App
	Run
	Environment
	Cluster
	Namespace
	Release
	TriggeredBy
	Branch
	Commit
	Image
	Digest
	Strategy
	Approver
	Duration
	Step
	Reason
	Note
	Changes
	Jobs
	Approval
	Order
	Chat
	User
	fieldCount
)

var fields = [fieldCount]words{
	Project:     {"Project", "项目"},
	App:         {"App", "应用"},
	Run:         {"Run", "运行"},
	Environment: {"Environment", "环境"},
	Cluster:     {"Cluster", "集群"},
	Namespace:   {"Namespace", "命名空间"},
	Release:     {"Release", "版本"},
	TriggeredBy: {"Triggered by", "触发人"},
	Branch:      {"Branch", "分支"},
	Commit:      {"Commit", "提交"},
	Image:       {"Image", "镜像"},
	Digest:      {"Digest", "摘要"},
	Strategy:    {"Strategy", "发布策略"},
	Approver:    {"Approver", "批准人"},
	Duration:    {"Duration", "耗时"},
	Step:        {"Step", "步骤"},
	Reason:      {"Reason", "原因"},
	Note:        {"Note", "提示"},
	Changes:     {"Changes", "变更"},
	Jobs:        {"Jobs", "任务"},
	Approval:    {"Approval", "审批"},
	Order:       {"Release order", "发布单"},
	Chat:        {"Chat", "聊天"},
	User:        {"User", "用户"},
}

// Field is the field's name.
func (l Lang) Field(f Field) string { return l.of(fields[f]) }

var states = map[string]words{
	"pending":     {"pending", "未开始"},
	"queued":      {"queued", "排队中"},
	"running":     {"running", "运行中"},
	"interrupted": {"interrupted", "已中断"},
	"skipped":     {"skipped", "已跳过"},
	"blocked":     {"blocked", "等待中"},
	"applying":    {"applying", "正在应用"},
	"progressing": {"progressing", "正在上线"},
	"paused":      {"paused", "已暂停"},
	"verifying":   {"verifying", "正在核对"},
	"succeeded":   {"succeeded", "成功"},
	"failed":      {"failed", "失败"},
	"cancelled":   {"cancelled", "已取消"},
	"superseded":  {"superseded", "已被取代"},
	"rejected":    {"rejected", "已驳回"},
	"expired":     {"expired", "已过期"},
	"draft":       {"being prepared", "准备中"},
	"waiting":     {"waiting for approval", "等待审批"},
	"approved":    {"approved", "已批准"},
}

// State is the word for a state of a run, a step or a deployment as the database has it; an unknown one is returned.
func (l Lang) State(state string) string { return l.name(states, state) }

var steps = map[string]words{
	"config":  {"configuration", "读取配置"},
	"merge":   {"merge", "合并"},
	"fetch":   {"fetch", "拉取代码"},
	"build":   {"build", "构建镜像"},
	"resolve": {"resolve", "解析摘要"},
	"render":  {"render", "渲染清单"},
	"copy":    {"copy", "复制镜像"},
	"apply":   {"apply", "应用清单"},
	"observe": {"rollout", "等待就绪"},
	"switch":  {"switch", "切换流量"},
	"verify":  {"verify", "核对镜像"},
}

var builds = map[string]words{
	"queued":     {"queued", "等待构建"},
	"running":    {"running", "构建中"},
	"succeeded":  {"succeeded", "构建成功"},
	"failed":     {"failed", "构建失败"},
	"cancelled":  {"cancelled", "构建已取消"},
	"superseded": {"superseded", "已被取代"},
}

// Build is the word for a state of a run that stands alone beside its title; an unknown one is returned.
func (l Lang) Build(state string) string { return l.name(builds, state) }

// blanks are the words of a command's usage that stand for what is to be typed.
var blanks = map[string]words{
	"app":     {"app", "应用"},
	"env":     {"env", "环境"},
	"release": {"release", "版本"},
	"reason":  {"reason", "原因"},
	"command": {"command", "命令"},
	"number":  {"number", "编号"},
	"step":    {"step", "步骤"},
	"check":   {"check", "检查"},
	"id":      {"id", "编号"},
	"events":  {"events", "事件"},
	"code":    {"code", "验证码"},
	"sha":     {"sha", "提交号"},
}

var word = regexp.MustCompile(`[a-z-]+`)

// Usage is a command's usage with the words for what is to be typed. What is typed as it stands, such as a verb, stays.
func (l Lang) Usage(usage string) string {
	return word.ReplaceAllStringFunc(usage, func(w string) string { return l.name(blanks, w) })
}

// Step is the word for a kind of step as the database has it; an unknown one is returned.
func (l Lang) Step(kind string) string {
	if check, ok := strings.CutPrefix(kind, "check/"); ok {
		return l.Say(CheckNamed, check)
	}
	verb, rest, _ := strings.Cut(kind, "/") // of a flow, as in job/1/deploy/migrate.yaml
	if _, what, ok := strings.Cut(rest, "/"); ok && flowSteps[verb] != 0 {
		if verb == "pause" && what == "manual" {
			return l.Say(StepPauseManual)
		}
		return l.Say(flowSteps[verb], what)
	}
	return l.name(steps, kind)
}

var flowSteps = map[string]Key{"job": StepJob, "wait": StepWait, "verify": StepVerify, "webhook": StepWebhook, "approve": StepApprove,
	"canary": StepCanary, "pause": StepPause, "prove": StepVerify}

func (l Lang) name(known map[string]words, name string) string {
	if w, ok := known[name]; ok {
		return l.of(w)
	}
	return name
}

var causes = map[string]words{
	"automatic": {"automatic", "自动部署"},
	"deploy":    {"deploy", "部署"},
	"promote":   {"promote", "发布"},
	"rollback":  {"rollback", "回滚"},
	"recovery":  {"recovery after a failure", "失败后自动恢复"},
	"order":     {"release order", "发布单"},
	"now":       {"before it was approved", "紧急发布"},
}

// Cause is the word for why a deployment was made, as the database has it; an unknown one is returned.
func (l Lang) Cause(cause string) string { return l.name(causes, cause) }
