package text

// Key names a sentence. Beside it stand the arguments that it takes, in their order.
type Key int

// What a run and a deployment say of themselves: in a status, on the page, in a chat.
const (
	BuildTitle         Key = iota // app, run number
	DeployTitle                   // app, release, environment
	RollbackTitle                 // app, environment, release
	Details                       // what the link to a page is called
	BuildQueued                   //
	BuildSucceeded                // release, duration
	SameImage                     // release, an earlier release with the same image; stands where a release's number does
	TagsKept                      // tags that stand for another image and can't be changed
	BuildFailed                   // step, reason
	BuildPassed                   // duration
	MergeConflict                 // branch
	MergeUnknown                  // branch
	Untested                      // command
	CancelledByClosing            //
	WaitingForApproval            // how many approved, how many are needed
	HeldAfterRollback             // login, time
	HeldAfterRestore              // time
	CancelledByRestore            //
	RefDeleted                    //
	AnotherDeployment             // deployment number
	NotThereYet                   // release, environment before
	Soaking                       // environment before, time
	TakesNoBranch                 // branch or tag
	LockedByUntil                 // login, time, reason
	FrozenUntil                   // time, window
	ChecksUnread                  // reason
	ChecksNotRead                 //
	ChecksWaiting                 // names
	ChecksFailed                  // how many failed, names
	AfterPart                     // part
	WaitsForOrder                 //
	RatifyFirst                   // deployment number
	DeployQueued                  //
	PodsReady                     // how many are ready, count of pods that are wanted
	Live                          // release, duration
	TookItsPlace                  // release
	DeployFailed                  // reason
	RolledBack                    // release
	FailedRolledBack              // reason of the failure, release
	FailedAfterJobs               // reason of the failure, names, command
	Rejected                      // login, reason
	Expired                       // duration

	// What a command is answered with. A usage is the command's form, names are a list.

	HelpIntro            // repository
	HelpHelp             //
	HelpStatus           //
	HelpDeploy           //
	HelpPromote          //
	HelpRollback         //
	HelpApprove          //
	HelpReject           //
	HelpUnlock           //
	HelpHistory          //
	HelpDiff             //
	HelpLogs             //
	HelpLock             //
	HelpPause            //
	HelpResume           //
	HelpAbort            //
	HelpRebuild          //
	HelpOrder            //
	HelpSubscribe        //
	HelpUnsubscribe      //
	HelpLink             //
	HelpOkToTest         //
	NotOnAPull           // usage
	NotAFork             // number
	PullClosed           // number
	PullsAreOff          // key, default branch
	NotTheHead           // what was given, head, command
	TestAllowed          // number, commit
	NoSuchCommand        // command that lists them
	Stranger             // what to add to the server's file
	LinkFirst            //
	LinkHere             // duration; an address follows
	LinkAlone            // command
	LinkedByFile         // login
	Linked               // login; an address follows
	LinkUnasked          // command
	LinkGiven            // command
	LinkExpired          // command
	LinkUnconfirmed      // command
	LinkMissed           // how many tries are left
	LinkMissedAll        // command
	LinkTaken            // command
	LinkedTitle          // login
	LinkedRemedy         //
	CannotSpeak          //
	Subscribed           // app, events, command that ends it
	Unsubscribed         // app
	NotSubscribed        // app
	NoSuchEvent          // event, names, usage
	Everything           // what is told
	NotAllowedHere       // what is told
	SubscriptionLine     // repository, app, what is told, login
	NoSubscription       //
	SubscribeHow         // usage
	TooMuchSaid          // duration
	Foreigner            //
	OldButton            //
	SayWhich             // usage
	NoAppHere            // app
	Heard                // command
	ConfirmApproval      // app, release, environment
	ConfirmButton        // the button that counts, where a first one only asked
	TypeReason           // command
	ReasonWord           // stands in a command for what the reason is
	ButtonVoid           // what stands in place of buttons whose question has changed
	ConfirmOrder         // order number, environment
	ConfirmPromote       // app, release, environment
	ConfirmRollBack      // app, environment, release, the one before
	Back                 // the button out of a question
	Usage                // usage
	OpenQuote            // usage
	TooManyCommands      // how many are read
	CommentEdited        //
	CommentDeleted       //
	NeedsPermission      // needed, repository, had, names of some who have it
	NotListed            // key of the list, names of who may
	CannotCheck          // reason
	TooManyCommits       // how many, how many at most
	NoFile               // default branch
	FileMistakes         // file, mistakes
	WhichApp             // names, usage
	NearestName          // a name that may have been meant
	UnknownEnvironment   // name, names, usage
	NoSuchRelease        // release, usage
	NoSuchCommit         // commit, branch
	WrongBranch          // environment, branch
	Fork                 //
	HeadMoved            // branch, commit before, commit after, exact command
	HeadUnknown          // exact command
	Started              // deployment number, release, environment, address
	DeployAfterBuild     // environment, commit
	AlreadyLive          // release, environment
	NothingBefore        // environment, command
	NothingLive          // environment
	NothingToRollBackTo  // environment
	RollbackStarted      // deployment number, environment, release, command that ends the hold, address
	JobsRanSince         // names
	NoImageToRollBackTo  // environment, release, image, GoneRemedy
	PartImageGone        // app, release, image
	StatusGone           // environment, release, image, GoneRemedy
	StatusKept           // environment, release, time, command that goes back to it
	GoneTitle            // app, environment, release
	GoneStatus           //
	GoneRemedy           // command that goes to another release
	NothingWaits         //
	NoSuchDeployment     // deployment number
	NotWaiting           // deployment number, state
	WhichDeployment      // names, usage
	PartNotAlone         // deployment number, order number, command
	AskedSince           // command
	Approved             // deployment number, how many approved, how many are needed
	AlreadyVoted         // deployment number
	OwnApproval          // deployment number, what the person did
	RejectedReply        // deployment number, environment
	NotHeld              // environment
	UnlockedAfterRestore // environment
	Unlocked             // environment, login of who had rolled back

	// What makes an approval somebody's own.

	DidRequest   //
	DidPush      //
	DidOpen      // pull request
	DidMergeInto //
	DidAuthor    // commit
	DidCommit    // commit
	DidCoAuthor  // commit

	// What came too late.

	OvertakenBy // commit
	BranchGone  //
	TagGone     //
	CommandLate // how long after it was written, command

	// Lines of the answer to /status.

	StatusLive    // environment, release, commit, digest, readiness
	StatusUnread  // environment, release, reason
	StatusWaiting // environment, release, state or reasons
	StatusDrift   // environment, what somebody changed in its cluster
	DriftIs       // object and field, what it is, what was released
	DriftLess     // object and field, what was released
	DriftGone     // object
	DriftBy       // one of these three, who
	DriftAt       // the same, who, when
	DriftMore     // number of further fields
	DriftHidden   // number of fields

	// About a message itself.

	ProgressOmitted // how many
	Results         // how many
	ResultsFailed   // how many
	MayRepeat       // time of the earlier attempt
	NotKnown        //
	// Cancelling, and why. A piece is a run or a deployment by its number.

	HelpCancel       //
	HelpWhy          //
	RunNumber        // run number
	RunNumberOf      // run number, app
	DeploymentNumber // deployment number
	Cancelled        // piece
	Stopping         // piece
	StopsAlready     // piece, login
	EndedAlready     // pieces with their states
	WhichPiece       // pieces with their states, usage
	NoSuchPiece      // number, usage
	NoSuchDelivery   // id, usage
	NothingRuns      //
	NoDeliveries     //
	LeftBehind       // environment, release, command that goes back, release before
	LeftBehindFirst  // environment, release
	LeftHeld
	CancelledBy         // login
	CancelledMidway     // login, release
	CancelledMidwayBack // login, release, command that goes back, release before

	// An image that something else pushed, and that becomes a release without a build.

	ImagePushed  // image with its tag, who pushed it
	ImageTitle   // app, run number
	ImageTaken   // release, duration
	NothingBuilt // commit, registry's repository
	// Checks. Tests are counted by what a check's report says.

	CheckNamed       // name
	StepJob          // path of its manifest
	StepWait         // duration
	StepVerify       // what is asked
	StepWebhook      // host
	CheckPassed      // duration
	CheckNotRun      //
	TestsPassed      // how many passed
	TestsPassedSome  // how many passed, how many were skipped
	TestsFailed      // how many failed, how many there are, names
	TestsFailedOnly  // how many failed, how many there are
	ReportUnreadable // reason

	// Reading a comment, and what is only read.

	HelpAlso          // names
	HelpAnyone        //
	HelpNeeds         // permission, permission that the reader has
	HelpListed        // permission, permission
	NoTokenVotes      //
	AnswerTooLong     //
	HistoryOf         // environment
	HistoryLine       // deployment number, release, commit, cause, login, time, state
	HistoryNone       // environment
	NothingToCompare  // environment, usage
	DiffOf            // release, environment
	DiffNone          // release, environment
	AdoptOf           // release, environment, command
	DiffFailed        // release, environment, reason
	DiffTooLong       // duration
	NotInPublic       // address
	NoLog             // what has none
	LogOfRun          // step, run number, state
	LogOfDeployment   // deployment number, environment, step
	LogOfJob          // Job, deployment number, environment
	NoSuchStep        // name, names, usage
	InChatsOnly       // command
	TakenOver         // number of the run whose result it is
	NothingBuiltYet   // commit, app
	GoesOn            // run number, state
	NothingFailed     // run number, usage
	NoSuchCheck       // name, names, usage
	NotTheHeadAnyMore // commit, pull request, head
	Rebuilt           // run number, number of the run before, what is taken over, address
	RebuiltWhole      // run number, number of the run before, address

	// Who may.

	NeedsPermissionOfAdmin // needed, repository, had; nobody is known to have it
	UnknownPermission      // what GitHub called it
	ForeignTeam            // team, the organization whose teams can be read
	TeamsUnread            // team
	GitHubSilent           //
	MayApprove             // names of some who may
	NobodyElseMay          //
	NobodysCommits         // deployment number, commits
	DidPushTo              // pull request

	// Checks of a commit.

	ChecksNone       //
	CheckOfAnother   // name, whose it is, whose it has to be
	WhenGreen        //
	SupersededByHead //
	SupersededBy     // run or deployment
	ClosedUnmerged   //
	LeftBehindByHead // commit, environment, new head, command

	// Locks, holds and freezes.

	Locked       // scope, time, command that ends it
	LockExtended // scope, time, command that ends it
	LockedBy     // scope, login, time, reason, command that ends it
	LockAsk      // command that asks for the lock
	LockLine     // place in the line
	LockTurn     // login, scope, time
	LockDuration // what was written, usage
	LockFree     // scope, command that takes it, time
	LockPassed   // scope, release, login, deployment number
	LockEnded    // scope, login
	LockEndedBy  // scope, login
	HoldEndedBy  // scope, login
	OthersStay   //
	LineLeft     // scope
	StatusBarred // environment, what keeps releases out
	HoldTitle    // app, environment
	HoldRemedy   // command

	// Approvals, and what went without.
	// What is asked, line by line.
	AskCommits       // count of commits, release that is live
	AskFirst         // environment
	AskSameCommit    // release that is live
	AskBack          // count of commits that are live and not in it
	AskBackOnly      // release that is live, count of its commits that are not in it
	AskCommit        // commit, subject, author
	AskPull          // pull request
	AskMore          // how many
	AskUnread        // reason
	AskUnknown       //
	AskImage         // image with its digest
	AskJobs          // names
	AskListed        // names
	AskMaintainers   //
	AskOthers        //
	AskHave          // how many approved, how many are needed, names
	AskUntil         // time
	AskReminded      // time
	AskSay           // command, command
	RulesChanged     // changes
	RulesChangedFor  // logins, changes
	NowNeedsReason   // usage
	NowAsked         // environment, time
	NotApproved      // how many approvals the environment asks for
	MustAgree        // until
	MustAgreeLate    // when it should have been
	AgreedBy         // login
	NotAgreedBy      // login, reason
	NeverAgreed      //
	Ratified         // deployment number, environment
	Unratified       // deployment number, environment, command
	RatifyOwn        // deployment number
	NowTitle         // app, release, environment
	NowLateTitle     // app, release, environment
	NowNoTitle       // app, release, environment
	NowYesTitle      // app, release, environment
	RemindTitle      // app, release, environment
	EnvironmentGone  //
	EnvironmentMoved //

	// The check run and the living comment.

	HeadState     //
	HeadBy        //
	HeadSince     //
	Approve       // what a button is called
	Reject        // what a button is called
	RollBack      // what a button is called
	PromoteTo     // environment; what a button is called
	RollBackIn    // environment; what a button is called
	ButtonTo      // release, environment; what a button is about
	ButtonBack    // release, environment; what a button is about
	LogOnPage     // address
	LastLines     //
	CommentTitle  // app, release, commit
	RunTitle      // app, commit
	WaitsFor      // deployment number, environment, reasons
	LastCommands  //
	CommandBy     // command, login, answer
	ButtonBy      // command, login, answer
	MoreCommands  // how many
	MoreLines     // how many
	ByButton      //
	SayWhy        // login, deployment number, command
	ReasonGiven   // deployment number
	ButtonLate    // duration, command
	ButtonChanged //
	WentLive      // duration

	// What is said to a deployment that is being made. A piece is its name.

	NothingRolls        // environment, what there is, command that keeps later releases out
	PausedAlready       // piece, login, time, command that lets it go on
	RestsAlready        // piece, why, command that lets it go on
	FailsAlready        // piece, why
	PauseAsked          // piece, command that lets it go on, command that gives it up
	PauseBeside         // piece, command that lets it go on, command that gives it up
	PauseNotHeld        // names of objects
	NothingRests        // piece, how it stands
	RestsForApproval    // piece, command that approves
	ResumeAsked         // piece, release, environment
	AbortTraffic        // piece, release before
	AbortBack           // piece, environment, release before
	AbortFirst          // piece, release, environment
	AbortOfBack         // piece, release, environment
	AbortUntouched      // piece, environment, release before
	AbortUntouchedFirst // piece, environment
	BackFromBeside      // deployment number, its release, release that stayed live
	CancelTraffic       // release before
	CancelUntouched     // environment
	PausedBy            // login, time
	RestsUntil          // time, step
	RestsForResume      // step
	RestsBeforeTurn     //
	StepAt              // share of the traffic
	RollsBy             // strategy
	AtStep              // step
	HasShare            // share of the traffic
	ResumedBy           // logins
	Undecided           //
	AskRest             // command that lets it go on, command that gives it up
	Resume              // what a button is called
	Abort               // what a button is called
	SteerButton         // what the button is called that was pressed; the button that counts, where a first one only asked
	ConfirmResume       // app, release, environment
	ConfirmAbort        // app, release, environment
	StepCanary          // share of the traffic
	StepPause           // duration
	StepPauseManual     //
	StepApprove         // how many

	// Release orders.

	OfPart                // app, refusal
	NotAPart              // what was typed, usage, an example
	PartsOfOrder          // how many at most, usage
	OrderNeedsReason      // usage
	NoSuchApp             // app, names, usage
	PartTwice             // app, usage
	NoSuchOrder           // order number, usage
	OrderMade             // order number, environment, parts, address
	OrderTitle            // order number, environment
	OrderBackTitle        // order number, number of the order that is taken back, environment
	OrderAsked            // state, login, reason
	OrderPart             // part, deployment number, state or reasons
	OrderPartDetails      // part number
	OrderHasEnded         // order number, state
	OrderFailed           // part number, app
	OrderDone             // parts
	OrderOffer            // command
	OrderCancelled        // order number
	OrderNotWaiting       // order number, state
	OrderVotedAlready     // order number
	OrderApproved         // order number, how many approved, how many are needed
	OrderRejected         // order number
	OrderApprovedBy       // names
	OrderVoid             // names
	MayApprovePart        // app, names of who may
	Maintainers           //
	OrderHow              // command that approves, command that rejects
	OrderUntil            // time
	OrderIsRollback       // order number
	OrderTakenBack        // order number, number of the order that takes it back
	NothingToTakeBack     // order number, why
	PartOvertaken         // app, deployment number
	OrderLeft             // apps
	PartWithoutBefore     // app
	OrderRollbackMade     // order number, number of the order that is taken back, parts, address
	StatusOrder           // environment, order number, state
	CancelledWithOrder    //
	WaitsForOrderApproval // how many approved, how many are needed
	PartOfOrder           // order number, part, how many parts

	// What bot doctor says in a chat.

	DoctorTitle // public address

	keyCount
)

// sentences give each argument by %v, so that a surface may pass it with its markup around it.
var sentences = [keyCount]words{
	BuildTitle:         {"Build %[1]v, run %[2]v", "%[1]v #%[2]v"},
	DeployTitle:        {"Deploy %[1]v release %[2]v to %[3]v", "%[1]v 版本 %[2]v 部署到 %[3]v"},
	RollbackTitle:      {"Roll back %[1]v in %[2]v to release %[3]v", "%[1]v 在 %[2]v 回滚到版本 %[3]v"},
	Details:            {"Details", "查看详情"},
	BuildQueued:        {"waiting for a builder", "等待构建机空闲"},
	BuildSucceeded:     {"release %v built in %v", "版本 %v 构建成功，耗时 %v"},
	BuildPassed:        {"built in %v", "构建成功，耗时 %v"},
	MergeConflict:      {"it conflicts with %v; resolve that and push", "与 %v 冲突；请解决后重新推送"},
	MergeUnknown:       {"GitHub does not say whether it can be merged into %v; push again, or close and reopen it", "GitHub 未给出能否合并到 %v 的结果；请重新推送，或关闭后重新打开"},
	Untested:           {"waits for %v from somebody with write access", "等待有 write 权限的人发送 %v"},
	CancelledByClosing: {"cancelled, since the pull request was closed", "拉取请求已关闭，构建已取消"},
	SameImage:          {"%v (same image as release %v)", "%v（与版本 %v 的镜像相同）"},
	TagsKept:           {"not tagged %v, which the registry keeps for another image; the digest is what is deployed", "未打标签 %v：镜像仓库为另一个镜像保留且不可更改；部署以摘要为准"},
	BuildFailed:        {"failed at step %v: %v", "构建失败（步骤“%v”）：%v"},
	WaitingForApproval: {"waiting for approval (%v of %v)", "等待审批（%v/%v）"},
	HeldAfterRestore:   {"held since a backup of the bot was restored at %v, until it is unlocked", "%v 恢复备份后暂停自动部署，解锁后继续"},
	RefDeleted:         {"cancelled: its branch or tag was deleted", "已取消：分支或标签已被删除"},
	CancelledByRestore: {"cancelled: a backup of the bot was restored, and what became of it since is not known", "已取消：机器人已从备份恢复，其后情况未知"},
	HeldAfterRollback:  {"held after a rollback by %v since %v", "%v 回滚后暂停自动部署，自 %v 起"},
	AnotherDeployment:  {"deployment %v is in progress", "部署 %v 正在进行"},
	NotThereYet:        {"release %v is not live in %v yet", "版本 %v 尚未在 %v 上线"},
	Soaking:            {"soaking in %v until %v", "在 %v 观察至 %v"},
	TakesNoBranch:      {"the environment takes no releases of %v", "此环境不接受 %v 的版本"},
	LockedByUntil:      {"locked by %[1]v until %[2]v: %[3]v", "已被 %[1]v 锁定至 %[2]v：%[3]v"},
	FrozenUntil:        {"frozen until %[1]v (%[2]v)", "冻结至 %[1]v（%[2]v）"},
	ChecksUnread:       {"the commit's checks could not be read: %v", "无法读取提交的检查：%v"},
	ChecksNotRead:      {"waiting to read the commit's checks", "等待读取提交的检查"},
	ChecksWaiting:      {"waiting for checks: %v", "等待检查：%v"},
	ChecksFailed:       {"%[1]v checks failed; waiting for: %[2]v", "%[1]v 项检查失败；等待：%[2]v"},
	AfterPart:          {"part %v of its order comes first", "发布单的第 %v 项先行"},
	WaitsForOrder:      {"waiting for its order", "等待发布单"},
	RatifyFirst:        {"deployment %v went without approval and must be agreed to first", "部署 %v 未经批准即上线，须先追认"},
	DeployQueued:       {"queued", "排队中"},
	PodsReady:          {"%v of %v ready", "%v/%v 就绪"},
	TookItsPlace:       {"release %v took its place", "已由版本 %v 取代"},
	Live:               {"release %v is live after %v", "版本 %v 已上线，耗时 %v"},
	DeployFailed:       {"failed: %v", "部署失败：%v"},
	// The release stands first: it must be there when a long reason is cut off.
	FailedRolledBack: {"rolled back to release %[2]v; failed: %[1]v", "部署失败，已回滚到版本 %[2]v；原因：%[1]v"},
	FailedAfterJobs:  {"not rolled back, since %[2]v ran before; %[3]v goes back all the same; failed: %[1]v", "部署失败，此前已运行 %[2]v，因此未自动回滚，仍要回滚请发送 %[3]v；原因：%[1]v"},
	RolledBack:       {"rolled back to release %v", "已回滚到版本 %v"},
	Rejected:         {"rejected by %v: %v", "已被 %v 驳回：%v"},
	Expired:          {"expired: not approved within %v", "已过期：%v内未通过审批"},

	HelpIntro:        {"What you may say on %v:", "你可以在 %v 发送："},
	HelpHelp:         {"what you may say here", "可用的命令"},
	HelpStatus:       {"what is live in each environment, and what waits and why", "各环境的线上版本，以及等待中的部署和原因"},
	HelpDeploy:       {"deploys the newest release of this pull request or branch, or the one you name; builds it first if there is none", "部署此拉取请求或分支的最新版本，或指定的版本；没有则先构建"},
	HelpPromote:      {"deploys what is live in the environment before, without building", "发布前一环境的线上版本，不重新构建"},
	HelpRollback:     {"goes back to the release before, or the one you name, without building", "回滚到上一个版本或指定的版本，不重新构建"},
	HelpApprove:      {"approves exactly what waits", "批准等待中的部署"},
	HelpReject:       {"rejects what waits", "驳回等待中的部署"},
	HelpUnlock:       {"ends your lock; with maintain also another's, and the hold that a rollback left", "解除你的锁定；有 maintain 权限时也可解除他人的锁定和回滚后的暂停"},
	HelpHistory:      {"the releases of an environment, newest first, and by whom", "某个环境的历史版本（最新在前）以及操作人"},
	HelpDiff:         {"what would change in the cluster", "集群中将发生的变更"},
	HelpLogs:         {"the end of a step's log, and of the pods that fail", "某个步骤日志的末尾，以及失败的 Pod 的日志"},
	HelpLock:         {"keeps an environment for yourself for 8h or as long as you say; said again, it is extended", "独占某个环境 8 小时或指定的时长；再次发送则续期"},
	HelpPause:        {"lets the deployment that is being made rest where it is", "暂停正在进行的部署"},
	HelpResume:       {"lets a deployment that rests go on", "继续已暂停的部署"},
	HelpAbort:        {"gives the deployment that is being made up, and what was live before gets everything back", "中止正在进行的部署，全部恢复到之前的线上版本"},
	HelpRebuild:      {"runs what failed of this commit again, or the check you name", "重新运行此提交中失败的部分，或指定的检查"},
	HelpOrder:        {"release orders: releases of several apps that go together, with one approval", "发布单：多个应用的版本一起发布，一次审批"},
	HelpSubscribe:    {"in a chat: has an app's notices told there; without an app: lists what is", "在群聊中：在此接收应用的通知；不写应用则列出已订阅的内容"},
	HelpUnsubscribe:  {"in a chat: ends that", "在群聊中：取消订阅"},
	HelpLink:         {"in a chat: ties you to your GitHub login", "在群聊中：绑定你的 GitHub 账号"},
	Stranger:         {"Who you are on GitHub is not known here. Ask whoever runs Shipmate to add you to people in its file: %v", "尚不知道你在 GitHub 上是谁。请 Shipmate 的管理员在其配置文件的 people 中加上：%v"},
	LinkFirst:        {"Nothing was done, since it is not known here who you are on GitHub.", "尚不知道你在 GitHub 上是谁，因此未执行任何操作。"},
	LinkHere:         {"To say who you are, open this within %v, sign in with GitHub and confirm; it works once, and an earlier one no more:", "请在 %v内打开以下地址，用 GitHub 登录并确认身份（仅可使用一次，之前的地址已失效）："},
	LinkAlone:        {"Say it to Shipmate alone, not in a group, where everybody would see the address: %v", "请不要在群聊中绑定，以免他人看到地址；请在与 Shipmate 的单聊中发送 %v。"},
	LinkedByFile:     {"You are %v here, as the server's file says; whoever runs Shipmate changes that.", "服务器的配置文件已指定你是 %v；如需修改，请联系 Shipmate 的管理员。"},
	Linked:           {"You act as %v here, with what they may do on GitHub. You can take that back:", "绑定成功：你在这里将以 %v 的身份和权限操作。可随时解除绑定："},
	LinkUnasked:      {"There is nothing to send digits for: say %v first.", "没有待确认的绑定，请先发送 %v。"},
	LinkGiven:        {"Those digits are for another chat user, who would have acted as you; they are void now. Confirm no address but your own; %v gives you one.", "此验证码属于另一名用户的绑定请求，现已作废，以免对方冒用你的身份。请只确认你本人获取的地址；发送 %v 可获取。"},
	LinkExpired:      {"Ten minutes are over; say %v for a new address.", "已超过十分钟，请发送 %v 获取新的地址。"},
	LinkUnconfirmed:  {"Open the address first and confirm there: it shows the digits. %v gives a new one.", "请先打开地址并确认，页面会显示验证码。发送 %v 可获取新的地址。"},
	LinkMissed:       {"Those are not the six digits that the page shows. Tries left: %v.", "与页面显示的六位验证码不符，还可尝试 %v 次。"},
	LinkMissedAll:    {"Those are not the digits either, and it was the last try; say %v for a new address.", "验证码仍不正确，已无剩余次数；请发送 %v 获取新的地址。"},
	LinkTaken:        {"Whoever confirmed that is another user of this chat by now, so nothing was done; say %v for a new address.", "确认者现已绑定此处的另一用户，未执行任何操作；请发送 %v 获取新的地址。"},
	LinkedTitle:      {"A chat user acts as your GitHub login %v from now on", "有聊天用户绑定了你的 GitHub 账号 %v"},
	LinkedRemedy:     {"If that is not you, take it back now, and tell your administrators", "如果不是你本人，请立即解除绑定并告知管理员"},
	CannotSpeak:      {"Shipmate can only answer here, not tell anything by itself, so nothing was done. Say it where it can: in a Slack channel, or to an app of WeCom.", "Shipmate 在这里只能回复，不能主动发送消息，因此未执行任何操作。请在 Slack 频道或企业微信应用中发送此命令。"},
	Subscribed:       {"Of %[1]v is told here from now on: %[2]v. %[3]v ends it.", "此处将接收 %[1]v 的通知：%[2]v。发送 %[3]v 可取消订阅。"},
	Unsubscribed:     {"%v is not told here any more, unless its file names this place.", "此处不再接收 %v 的通知（其配置文件中指定的除外）。"},
	NotSubscribed:    {"Nobody has subscribed to %v here. What its file names is changed there: notify in .shipmate.yaml.", "此处没有订阅 %v。配置文件中指定的通知请在 .shipmate.yaml 的 notify 中修改。"},
	NoSuchEvent:      {"There is no event %[1]v; there is: %[2]v. Usage: %[3]v", "没有事件 %[1]v；现有：%[2]v。用法：%[3]v"},
	Everything:       {"everything", "全部通知"},
	NotAllowedHere:   {"nothing, since the server's file does not let the repository use this chat any more", "暂停通知：服务器的配置文件已不允许该仓库使用此聊天"},
	SubscriptionLine: {"%[1]v, %[2]v: %[3]v, by %[4]v", "%[1]v，%[2]v：%[3]v（由 %[4]v 订阅）"},
	NoSubscription:   {"Nobody has subscribed to anything here.", "此处没有任何订阅。"},
	SubscribeHow:     {"What apps' files name besides is told too. To subscribe: %v", "各应用配置文件中指定的通知也会发送到此处。订阅方法：%v"},
	TooMuchSaid:      {"That was very much within a minute. Please wait %v.", "一分钟内命令过多，请等待 %v。"},
	Foreigner:        {"You are not of the workspace that Shipmate belongs to, so nothing is done. People of that workspace can say it.", "你不属于 Shipmate 所在的工作区，因此不予处理；请由该工作区的成员操作。"},
	OldButton:        {"This button leads nowhere any more. Please type the command.", "此按钮已失效，请输入命令。"},
	SayWhich:         {"Say which app it is about, and where several repositories have one of that name, owner/name before it. Usage: %v", "请指明应用；若多个仓库有同名应用，请在其前写 owner/name。用法：%v"},
	NoAppHere:        {"There is no app %v here that you may see.", "这里没有你可见的应用 %v。"},
	Heard:            {"%v: one moment…", "%v：正在处理…"},
	ConfirmOrder:     {"Every part of release order %[1]v goes to %[2]v with your approval.", "批准后，发布单 %[1]v 的全部内容将可部署到 %[2]v。"},
	ConfirmPromote:   {"Release %[2]v of %[1]v goes to %[3]v.", "将 %[1]v 版本 %[2]v 发布到 %[3]v。"},
	ConfirmRollBack:  {"%[1]v in %[2]v goes back from release %[3]v to %[4]v. Automatic deployments wait there until it is unlocked.", "%[2]v 中的 %[1]v 将从版本 %[3]v 回滚到 %[4]v；解锁前，该环境的自动部署将暂停。"},
	ConfirmApproval:  {"Release %[2]v of %[1]v goes to %[3]v with your approval.", "批准后，%[1]v 版本 %[2]v 将可部署到 %[3]v。"},
	ConfirmButton:    {"Yes, approve", "确认批准"},
	TypeReason:       {"To reject it, say why: %v", "驳回须填写原因，请发送：%v"},
	ReasonWord:       {"reason…", "原因…"},
	ButtonVoid:       {"Changed since", "已变更"},
	Back:             {"Back", "返回"},
	NoSuchCommand:    {"There is no such command; %v lists those that there are.", "没有此命令；%v 会列出可用的命令。"},
	Usage:            {"Usage: %v", "用法：%v"},
	OpenQuote:        {"A quote is not closed: write \"…\" around text with spaces. Usage: %v", "引号未闭合：带空格的文字请用 \"…\" 括起来。用法：%v"},
	TooManyCommands:  {"Only the first %v commands of a comment are read; write the others in another comment.", "一条评论只读取前 %v 个命令；其余请另发评论。"},
	CommentEdited:    {"Your comment was edited after it was posted, so nothing was done. Post the command in a new comment.", "你的评论在发布后被编辑，因此未执行任何操作。请在新评论中重新发送命令。"},
	CommentDeleted:   {"Your comment was deleted before it was read, so nothing was done.", "你的评论在读取前已被删除，因此未执行任何操作。"},

	NeedsPermission: {"This needs %[1]v on %[2]v; you have %[3]v. Who has it: %[4]v.", "此操作需要 %[2]v 的 %[1]v 权限；你的权限是 %[3]v。拥有此权限的人：%[4]v。"},
	NotListed:       {"The environment's %[1]v does not name you, only %[2]v. Ask one of them, or have the list changed in .shipmate.yaml on the default branch.", "此环境的 %[1]v 中没有你，只有 %[2]v。请联系其中一位，或在默认分支的 .shipmate.yaml 中修改名单。"},
	CannotCheck:     {"It could not be checked whether you may, so nothing was done: %v", "无法核实你的权限，因此未执行任何操作：%v"},

	TooManyCommits:     {"there are %v commits, pull requests or pushes since what is live, too many to tell whose they are (at most %v); promote more often, or set approvals.self", "自线上版本以来有 %v 个提交、拉取请求或推送，超出可核实的数量（最多 %v）；请更频繁地发布，或设置 approvals.self"},
	NoFile:             {"There is no .shipmate.yaml on %v; add one there.", "%v 上没有 .shipmate.yaml；请添加。"},
	FileMistakes:       {"%v has mistakes, so nothing was done: %v", "%v 有错误，因此未执行任何操作：%v"},
	WhichApp:           {"Say which app you mean (%v). Usage: %v", "请写明应用（%v）。用法：%v"},
	NearestName:        {"Did you mean %v?", "是否指 %v？"},
	UnknownEnvironment: {"There is no environment %v; there is: %v. Usage: %v", "没有环境 %v；现有：%v。用法：%v"},
	NoSuchRelease:      {"There is no release %v. Usage: %v", "没有版本 %v。用法：%v"},
	NoSuchCommit:       {"There is no commit %v on %v.", "%[2]v 上没有提交 %[1]v。"},
	WrongBranch:        {"%v takes no releases of %v; its branches are listed in .shipmate.yaml on the default branch.", "%v 不接受 %v 的版本；可用分支列在默认分支的 .shipmate.yaml 中。"},
	Fork:               {"A fork's commits are not deployed.", "不部署来自派生仓库的提交。"},
	HeadMoved:          {"%[1]v moved from %[2]v to %[3]v when you wrote this or later, so nothing was done. To mean the newest commit, say %[4]v", "在你发送时或之后，%[1]v 从 %[2]v 变为 %[3]v，因此未执行任何操作。如确指最新提交，请发送 %[4]v"},
	HeadUnknown:        {"It can't be told which commit you saw, so nothing was done. To mean the newest one, say %v", "无法确定你看到的是哪个提交，因此未执行任何操作。如确指最新提交，请发送 %v"},

	Started:              {"Deployment %v: release %v goes to %v. %v", "部署 %v：版本 %v 部署到 %v。%v"},
	DeployAfterBuild:     {"There is no release of %[2]v yet: it goes to %[1]v once it is built.", "%[2]v 还没有版本：构建成功后部署到 %[1]v。"},
	AlreadyLive:          {"Release %v is live in %v already.", "版本 %v 已在 %v 上线。"},
	NothingBefore:        {"No environment comes before %v, so nothing can be promoted to it; use %v.", "%v 之前没有环境，无法发布到此；请用 %v。"},
	NothingLive:          {"Nothing is live in %v.", "%v 没有线上版本。"},
	NothingToRollBackTo:  {"There is nothing to roll back to in %v: no such release succeeded there before.", "%v 没有可回滚的版本：此前没有这样的版本在那里成功。"},
	RollbackStarted:      {"Deployment %[1]v: %[2]v goes back to release %[3]v. Automatic deployments there stay stopped until %[4]v. %[5]v", "部署 %[1]v：%[2]v 回滚到版本 %[3]v。在 %[4]v 之前，那里的自动部署保持暂停。%[5]v"},
	NoImageToRollBackTo:  {"%[1]v can't be rolled back to release %[2]v: its image %[3]v is not in the registry any more. %[4]v", "%[1]v 无法回滚到版本 %[2]v：镜像 %[3]v 已不在镜像仓库中。%[4]v"},
	PartImageGone:        {"%[1]v is left as it is: it can't be rolled back to release %[2]v, whose image %[3]v is not in the registry any more.", "%[1]v 保持不变：无法回滚到版本 %[2]v，其镜像 %[3]v 已不在镜像仓库中。"},
	StatusGone:           {"%[1]v can't be rolled back to release %[2]v: its image %[3]v is not in the registry any more. %[4]v", "%[1]v 无法回滚到版本 %[2]v：镜像 %[3]v 已不在镜像仓库中。%[4]v"},
	StatusKept:           {"%[1]v still runs the pods of release %[2]v without requests, until %[3]v; until then %[4]v turns the traffic back to them at once.", "%[1]v 仍保留版本 %[2]v 的 Pod（不接收流量）至 %[3]v；在此之前发送 %[4]v 可立即将流量切回。"},
	GoneTitle:            {"%[1]v in %[2]v can't be rolled back to release %[3]v", "%[1]v 在 %[2]v 无法回滚到版本 %[3]v"},
	GoneStatus:           {"its image is not in the registry any more: deleted, or removed by a retention rule", "镜像已不在镜像仓库中：可能被删除或被保留策略清理"},
	GoneRemedy:           {"Have the retention rule keep what was deployed. Until the image is back, %[1]v goes to another release, and a pushed revert is built anew.", "请让镜像仓库的保留策略保留部署过的镜像。镜像恢复之前，可发送 %[1]v 回到其他版本，或推送 revert 重新构建。"},
	JobsRanSince:         {"Since what it goes back to was live, %v ran; what that did stays.", "回滚目标上线之后运行过 %v，其所做的更改不会撤销。"},
	NothingWaits:         {"Nothing waits for approval.", "没有等待审批的部署。"},
	NoSuchDeployment:     {"There is no deployment %v.", "没有部署 %v。"},
	NotWaiting:           {"Deployment %v does not wait for approval of what you saw: it is %v, or has changed since.", "部署 %v 等待审批的不是你所见的内容：当前状态为%v，或此后有变更。"},
	WhichDeployment:      {"Several wait (%v); say which. Usage: %v", "有多个部署在等待（%v）；请指明。用法：%v"},
	PartNotAlone:         {"Deployment %[1]v is a part of release order %[2]v, which is decided as a whole: %[3]v", "部署 %[1]v 是发布单 %[2]v 的一项，须整体决定：%[3]v"},
	AskedSince:           {"What you wrote this about has changed since, so it does not count. Look at what is asked now; to approve that, say %v", "在你发送之后内容已有变更，因此不计入。请查看当前申请的内容；如批准，请发送 %v"},
	Approved:             {"Deployment %v approved (%v of %v).", "部署 %v 已批准（%v/%v）。"},
	AlreadyVoted:         {"You approved deployment %v already.", "你已批准过部署 %v。"},
	OwnApproval:          {"Deployment %v needs someone else's approval, since you %v.", "部署 %v 须由他人批准，因为你%v。"},
	RejectedReply:        {"Deployment %v to %v is rejected.", "部署 %v（到 %v）已驳回。"},
	NotHeld:              {"There is neither a lock nor a hold on %v.", "%v 既没有被锁定，也没有被暂停。"},
	UnlockedAfterRestore: {"The hold on %v, left when a backup was restored, has ended; automatic deployments go on.", "%v 上由恢复备份留下的暂停已解除；自动部署恢复。"},
	Unlocked:             {"The hold on %v, left by a rollback of %v, has ended; automatic deployments go on.", "%v 上由 %v 回滚留下的暂停已解除；自动部署恢复。"},

	DidRequest:   {"asked for it", "发起了它"},
	DidPush:      {"pushed it", "推送了它"},
	DidOpen:      {"opened pull request %v", "创建了拉取请求 %v"},
	DidMergeInto: {"merged a part of it", "合并了其中的一部分"},
	DidAuthor:    {"wrote %v", "编写了 %v"},
	DidCommit:    {"committed %v", "提交了 %v"},
	DidCoAuthor:  {"co-wrote %v", "共同编写了 %v"},

	// The first two follow the word for superseded.
	OvertakenBy: {"by %v before it was built", "（构建前分支已更新到 %v）"},
	TagGone:     {"before it was built: the tag is gone", "（构建前标签已删除）"},
	BranchGone:  {"before it was built: the branch is gone", "（构建前分支已删除）"},
	CommandLate: {"This came %[1]v after you wrote it, so %[2]v was not done. To confirm it, say it again in a new comment.", "此命令在你发送 %[1]v 后才到达，因此未执行 %[2]v。如需确认，请在新评论中重新发送。"},

	StatusLive:    {"%v: release %v of commit %v (%v), %v", "%v：版本 %v，提交 %v（%v），%v"},
	StatusUnread:  {"%v: release %v, but the cluster could not be read: %v", "%v：版本 %v，但无法读取集群：%v"},
	StatusWaiting: {"%v: release %v %v", "%v：版本 %v %v"},
	StatusDrift:   {"%v was changed in the cluster since: %v", "%v 部署后在集群中被改动：%v"},
	DriftIs:       {"%v is %v, released %v", "%v 现为 %v，发布时为 %v"},
	DriftLess:     {"%v is gone, released %v", "%v 已被删除，发布时为 %v"},
	DriftGone:     {"%v is gone", "%v 已不存在"},
	DriftBy:       {"%v, by %v", "%v（由 %v 改动）"},
	DriftAt:       {"%v, by %v at %v", "%v（%v 于 %v 改动）"},
	DriftMore:     {"and %v more", "另有 %v 处"},
	DriftHidden:   {"%v fields, which a public repository's comments do not show; see the page", "共 %v 处，公开仓库的评论中不显示，请看页面"},

	HelpOkToTest: {"builds a fork's pull request, at exactly that commit and with no rights", "仅按该提交构建来自派生仓库的拉取请求，且不赋予任何权限"},
	NotOnAPull:   {"This is said on a pull request. Usage: %v", "请在拉取请求中使用。用法：%v"},
	NotAFork:     {"Pull request %v does not come from a fork, so it needs no such word.", "拉取请求 %v 并非来自派生仓库，无需此命令。"},
	PullClosed:   {"Pull request %v is closed.", "拉取请求 %v 已关闭。"},
	PullsAreOff:  {"%v is off in the file of %v, so pull requests are not built.", "%[2]v 的文件中未开启 %[1]v，因此不构建拉取请求。"},
	NotTheHead:   {"%v is not the head of this pull request, whole and as it is now, which is %v. Look at that commit; to have it built, and no other, say %v", "%v 不是此拉取请求当前的完整提交号；当前为 %v。请先查看该提交；如需仅构建它，请发送 %v"},
	TestAllowed:  {"Pull request %v is built at %v, and at no other commit.", "拉取请求 %v 将按 %v 构建，其他提交除外。"},

	ProgressOmitted:     {"notices of progress that were left out: %v", "另有 %v 条进度未发送"},
	Results:             {"%v results in one message", "%v 项结果（合并发送）"},
	ResultsFailed:       {"%v failed", "其中 %v 项失败"},
	MayRepeat:           {"this may be a repeat: what became of an attempt at %v is not known", "此消息可能重复：%v 那次发送的结果未知"},
	NotKnown:            {"not known any more: Shipmate has no record of it", "已无记录：Shipmate 不再掌握其状态"},
	HelpCancel:          {"stops a run or a deployment, also while it runs", "停止运行或部署，包括正在进行的"},
	HelpWhy:             {"how the newest deliveries, or the one, the run or the deployment you name, were decided, also when nothing was done", "最近的事件或指定的事件、运行、部署是如何决定的，包括未执行任何操作的情况"},
	RunNumber:           {"run %v", "运行 %v"},
	RunNumberOf:         {"run %v of %v", "%[2]v 的运行 %[1]v"},
	DeploymentNumber:    {"deployment %v", "部署 %v"},
	Cancelled:           {"Cancelled: %v.", "已取消：%v。"},
	Stopping:            {"Stopping %v: it ends at its next safe point.", "正在停止%v：将在下一个安全点结束。"},
	StopsAlready:        {"It is being stopped already: %v, by %v.", "%v 已被 %v 要求停止。"},
	EndedAlready:        {"Nothing is left to cancel: %v.", "没有可取消的内容：%v。"},
	WhichPiece:          {"Say which one: %v. Usage: %v", "请指明其中之一：%v。用法：%v"},
	NoSuchPiece:         {"There is neither a run nor a deployment %v of that kind here. Usage: %v", "这里没有编号为 %v 的运行或部署。用法：%v"},
	NoSuchDelivery:      {"No delivery %v of this repository is stored, and it is no number of a run or a deployment. Usage: %v", "未保存此仓库的事件 %v，它也不是运行或部署的编号。用法：%v"},
	NothingRuns:         {"Nothing runs or waits here, so there is nothing to cancel.", "这里没有运行中或等待中的内容，无需取消。"},
	NoDeliveries:        {"No delivery about this is stored.", "没有保存与此有关的事件。"},
	LeftBehind:          {"%[1]v may hold a part of release %[2]v now; %[3]v goes back to release %[4]v.", "%[1]v 可能已包含版本 %[2]v 的一部分；发送 %[3]v 可回到版本 %[4]v。"},
	LeftHeld:            {"Its rollout stays held where it is until the next deployment.", "更新将停在当前位置，直到下一次部署。"},
	LeftBehindFirst:     {"%v may hold a part of release %v now; nothing was live there before, so there is nothing to go back to.", "%v 可能已包含版本 %v 的一部分；此前没有线上版本，无法回滚。"},
	CancelledBy:         {"cancelled by %v", "已被 %v 取消"},
	CancelledMidway:     {"cancelled half-way by %v; release %v may be partly live", "中途被 %v 取消；版本 %v 可能已部分上线"},
	CheckNamed:          {"check %v", "检查 %v"},
	StepJob:             {"job %v", "任务 %v"},
	StepWait:            {"wait %v", "等待 %v"},
	StepVerify:          {"verify %v", "验证 %v"},
	StepWebhook:         {"webhook %v", "回调 %v"},
	CheckPassed:         {"passed in %v", "通过，耗时 %v"},
	CheckNotRun:         {"not run: the run ended before", "未执行：运行已提前结束"},
	TestsPassed:         {"%v passed", "%v 项通过"},
	TestsPassedSome:     {"%v passed, %v skipped", "%v 项通过，%v 项跳过"},
	TestsFailed:         {"%v of %v failed: %v", "%[2]v 项中 %[1]v 项失败：%[3]v"},
	TestsFailedOnly:     {"%v of %v failed", "%[2]v 项中 %[1]v 项失败"},
	ReportUnreadable:    {"no report: %v", "没有报告：%v"},
	CancelledMidwayBack: {"cancelled half-way by %v; release %v may be partly live, %v goes back to release %v", "中途被 %v 取消；版本 %v 可能已部分上线，%v 可回到版本 %v"},

	ImagePushed:  {"image %v pushed by %v", "%[2]v 推送了镜像 %[1]v"},
	ImageTitle:   {"Image pushed for %[1]v, run %[2]v", "%[1]v #%[2]v 新镜像"},
	ImageTaken:   {"release %v made of the pushed image in %v", "已用推送的镜像生成版本 %v，耗时 %v"},
	NothingBuilt: {"There is no release of %v, and nothing is built here, since .shipmate.yaml has no build: an image pushed to %v becomes a release.", "%v 还没有版本；.shipmate.yaml 没有 build，因此这里不构建：推送到 %v 的镜像会成为版本。"},

	// Reading a comment, and what is only read.

	HelpAlso:          {"The same: %v", "同义：%v"},
	HelpAnyone:        {"Anyone may say it.", "任何人均可使用。"},
	HelpNeeds:         {"It needs %v at least, which an environment's deployers and approvals may narrow; you have %v.", "至少需要 %v 权限，环境的 deployers 和 approvals 可进一步限定；你的权限是 %v。"},
	HelpListed:        {"It needs %v, or where an environment's deployers or approvals.by name people, to be one of them; you have %v.", "需要 %v 权限；若环境的 deployers 或 approvals.by 指定了人员，则须在其中；你的权限是 %v。"},
	NoTokenVotes:      {"A token can't vote: a person has to say this themselves.", "令牌不能投票：须由本人发送。"},
	AnswerTooLong:     {"The rest of the answer does not fit into one comment; say each command in a comment of its own.", "其余回答超出一条评论的长度；请将各命令分开发送。"},
	HistoryOf:         {"Releases of %v, newest first:", "%v 的历史版本（最新在前）："},
	HistoryLine:       {"deployment %[1]v: release %[2]v of commit %[3]v, %[4]v by %[5]v at %[6]v: %[7]v", "部署 %[1]v：版本 %[2]v，提交 %[3]v，%[4]v，%[5]v 于 %[6]v：%[7]v"},
	HistoryNone:       {"Nothing was deployed to %v yet.", "%v 尚无部署记录。"},
	NothingToCompare:  {"There is no release to compare %v with. Usage: %v", "没有可与 %v 对比的版本。用法：%v"},
	DiffOf:            {"Release %v would change this in %v:", "版本 %v 将在 %v 中带来以下变更："},
	AdoptOf:           {"With release %v this would be taken over in %v and changed; say %v to do it:", "版本 %v 将在 %v 中接管并变更以下内容；如需执行，请发送 %v："},
	DiffNone:          {"Release %v would change nothing in %v.", "版本 %v 不会在 %v 中带来变更。"},
	DiffFailed:        {"What release %v would change in %v can't be told: %v", "无法得知版本 %v 将在 %v 中带来的变更：%v"},
	DiffTooLong:       {"it takes longer than %v", "耗时超过 %v"},
	NotInPublic:       {"On a public repository this is not shown in a comment; see %v", "公开仓库的评论中不显示此内容；请查看 %v"},
	NoLog:             {"There are no lines of a log of %v.", "没有 %v 的日志。"},
	LogOfRun:          {"The end of the log of %v, run %v (%v):", "运行 %[2]v（%[3]v）步骤“%[1]v”的日志末尾："},
	LogOfDeployment:   {"What deployment %v to %v shows of its failure at step %v:", "部署 %v（到 %v）在步骤“%v”失败时的日志："},
	LogOfJob:          {"The end of what %v of deployment %v to %v wrote:", "部署 %[2]v（到 %[3]v）中 %[1]v 输出的末尾："},
	NoSuchStep:        {"There is no step %v; there is: %v. Usage: %v", "没有步骤 %v；现有：%v。用法：%v"},
	InChatsOnly:       {"%v is said in a chat, so nothing was done here.", "%v 须在聊天中使用，因此未执行任何操作。"},
	TakenOver:         {"taken over from run %v", "沿用运行 %v 的结果"},
	NothingBuiltYet:   {"There is no run of %v for %v.", "%[2]v 没有针对 %[1]v 的运行。"},
	GoesOn:            {"Run %v stands in the way, which is %v: it is newer, or has not ended.", "运行 %v（%v）较新或尚未结束，无法重试。"},
	NothingFailed:     {"Run %v succeeded, so nothing of it is run again unless you name a check. Usage: %v", "运行 %v 已成功；如需重新执行，请指明检查。用法：%v"},
	NoSuchCheck:       {"There is no check %v; there is: %v. Usage: %v", "没有检查 %v；现有：%v。用法：%v"},
	NotTheHeadAnyMore: {"%v is not the head of pull request %v any more, which is %v, so it is not built again.", "%v 已不是拉取请求 %v 的最新提交（当前为 %v），因此不再构建。"},
	Rebuilt:           {"Run %v does run %v again, but for what passed: %v. %v", "运行 %v 重新执行运行 %v 中未通过的部分，已通过的沿用：%v。%v"},
	RebuiltWhole:      {"Run %v does the whole of run %v again. %v", "运行 %v 完整地重新执行运行 %v。%v"},

	// Who may.

	NeedsPermissionOfAdmin: {"This needs %[1]v on %[2]v; you have %[3]v. An admin of the repository can give it to you, under Settings, Collaborators and teams.", "此操作需要 %[2]v 的 %[1]v 权限；你的权限是 %[3]v。仓库管理员可在 Settings → Collaborators and teams 中授权。"},
	UnknownPermission:      {"GitHub names a permission that this version doesn't know, %v; tell whoever runs this bot", "GitHub 返回了此版本不认识的权限 %v；请告知机器人的维护者"},
	ForeignTeam:            {"the team %[1]v belongs to another organization, and only the teams of %[2]v can be read here; name one of those in .shipmate.yaml", "团队 %[1]v 属于其他组织，这里只能读取 %[2]v 的团队；请在 .shipmate.yaml 中改用后者的团队"},
	TeamsUnread:            {"GitHub does not let this bot read who is in %v; an owner of the organization has to grant the App the permission Members: read", "GitHub 不允许机器人读取 %v 的成员；请由组织所有者为此 App 授予 Members: read 权限"},
	GitHubSilent:           {"GitHub does not answer at the moment; say it again in a few minutes", "GitHub 暂时没有响应；请几分钟后重新发送"},
	MayApprove:             {"Who may: %v.", "可以批准的人：%v。"},
	NobodyElseMay:          {"Nobody else may as yet: have somebody added to approvals.by in .shipmate.yaml, or given maintain on the repository.", "目前没有其他人可以批准：请在 .shipmate.yaml 的 approvals.by 中添加成员，或为他人授予仓库的 maintain 权限。"},
	NobodysCommits:         {"Deployment %[1]v can't be approved yet, since nobody can tell whose work is in these commits: %[2]v. They name people whom GitHub doesn't know, and came by no push or pull request of their own. Have their authors add their e-mail addresses to their GitHub accounts, then approve again.", "部署 %[1]v 暂时无法批准，因为无法确定以下提交出自谁手：%[2]v。提交中的署名无法对应到 GitHub 账号，也没有单独的推送或拉取请求记录。请作者把邮箱添加到自己的 GitHub 账号，然后重新批准。"},
	DidPushTo:              {"pushed to pull request %v", "推送过拉取请求 %v"},

	// Checks of a commit.

	ChecksNone:       {"waiting for the commit's first check; if none begins within a minute of the push, it goes on", "等待提交的首项检查；推送后一分钟内若无任何检查，则继续"},
	CheckOfAnother:   {"%[1]v is there, but by %[2]v, not by %[3]v", "已有 %[1]v，但来自 %[2]v，而非 %[3]v"},
	WhenGreen:        {"It waits until the checks of that commit are green.", "将等待该提交的检查全部通过。"},
	SupersededBy:     {"superseded by %v", "已被%v 取代"},
	SupersededByHead: {"superseded: the head of its pull request moved on", "已被取代：拉取请求已有新的提交"},
	ClosedUnmerged:   {"cancelled: its pull request was closed without being merged", "已取消：拉取请求未合并即被关闭"},
	LeftBehindByHead: {"%[1]v does not go to %[2]v any more: the pull request's head moved on to %[3]v. To mean that one, say %[4]v", "%[1]v 不再部署到 %[2]v：拉取请求已更新到 %[3]v。如需部署新的提交，请发送 %[4]v"},

	// Locks, holds and freezes.

	Locked:       {"%[1]v is locked by you until %[2]v. Until then others' deployments to it are refused and automatic ones wait; a rollback passes. %[3]v ends it.", "%[1]v 已由你锁定至 %[2]v。在此之前，他人的部署会被拒绝，自动部署会等待；回滚不受影响。发送 %[3]v 可提前解锁。"},
	LockExtended: {"%[1]v stays locked by you, now until %[2]v. %[3]v ends it.", "%[1]v 的锁定已续期至 %[2]v。发送 %[3]v 可提前解锁。"},
	LockedBy:     {"%[1]v is locked by %[2]v until %[3]v: %[4]v. Until then only %[2]v deploys there; %[5]v from %[2]v, or from somebody with maintain, ends the lock.", "%[1]v 已被 %[2]v 锁定至 %[3]v：%[4]v。在此之前只有 %[2]v 能部署；%[2]v 或有 maintain 权限的人发送 %[5]v 可解锁。"},
	LockAsk:      {"To be told when it is free, say %v with your reason.", "如需在解锁时收到提醒，请发送 %v 并附上原因。"},
	LockLine:     {"You are number %v in the line, and are told here when it is your turn.", "你在排队中排第 %v 位，轮到你时会在这里提醒。"},
	LockTurn:     {"It is the turn of %[1]v to lock %[2]v, until %[3]v.", "现在轮到 %[1]v 锁定 %[2]v，保留至 %[3]v。"},
	LockDuration: {"%[1]v is no time that a lock may last: write 1m to 7d, such as 30m, 2h or 1h30m. Usage: %[2]v", "%[1]v 不是有效的锁定时长：可写 1m 到 7d，例如 30m、2h、1h30m。用法：%[2]v"},
	LockFree:     {"%[1]v is free, and it is your turn: %[2]v with your reason locks it. It is not locked for you; at %[3]v the next in line is told.", "%[1]v 已解锁，轮到你了：发送 %[2]v 并附上原因即可锁定。系统不会自动为你锁定；%[3]v 之后轮到下一位。"},
	LockPassed:   {"%[3]v takes %[1]v back to release %[2]v (deployment %[4]v). A rollback passes your lock, which stays.", "%[3]v 正在将 %[1]v 回滚到版本 %[2]v（部署 %[4]v）。回滚不受你的锁定限制，锁定仍然有效。"},
	LockEnded:    {"The lock of %[2]v on %[1]v has ended.", "%[2]v 对 %[1]v 的锁定已解除。"},
	LockEndedBy:  {"%[2]v ended your lock on %[1]v.", "%[2]v 解除了你对 %[1]v 的锁定。"},
	HoldEndedBy:  {"%[2]v ended the hold that your rollback left on %[1]v; automatic deployments go on.", "%[2]v 解除了你回滚后 %[1]v 的暂停；自动部署恢复。"},
	OthersStay:   {"What is not yours stays.", "他人的锁定和回滚后的暂停仍然保留。"},
	LineLeft:     {"You no longer wait for %v.", "你已退出 %v 的排队。"},
	StatusBarred: {"%[1]v is closed: %[2]v", "%[1]v 暂不放行：%[2]v"},
	HoldTitle:    {"%[1]v in %[2]v is still held", "%[1]v 在 %[2]v 的自动部署仍处于暂停"},
	HoldRemedy:   {"automatic deployments wait until somebody with maintain says %v", "自动部署将等待，直到有 maintain 权限的人发送 %v"},

	// Approvals, and what went without.
	AskCommits:       {"%[1]v since release %[2]v, newest first:", "自版本 %[2]v 以来有 %[1]v，最新在前："},
	AskFirst:         {"the first release in %v", "%v 的首个版本"},
	AskSameCommit:    {"no new commit: release %v, which is live, has the same", "没有新提交：线上版本 %v 的提交相同"},
	AskBack:          {"live now and not in it: %v", "线上有 %v，此版本中没有"},
	AskBackOnly:      {"it goes back: it is older than release %[1]v, which is live and has %[2]v more", "这是回退：它早于线上版本 %[1]v，后者多 %[2]v"},
	AskCommit:        {"%[1]v %[2]v by %[3]v", "%[1]v %[2]v，作者 %[3]v"},
	AskPull:          {"pull request %v", "拉取请求 %v"},
	AskMore:          {"… and %v more", "……另有 %v 个"},
	AskUnread:        {"its commits could not be read: %v", "无法读取其提交：%v"},
	AskUnknown:       {"its commits are being read", "正在读取其提交"},
	AskImage:         {"image %v", "镜像 %v"},
	AskJobs:          {"runs jobs: %v", "将运行的任务：%v"},
	AskListed:        {"may approve: %v", "可批准的人：%v"},
	AskMaintainers:   {"may approve: everyone with maintain", "可批准的人：拥有 maintain 权限的人"},
	AskOthers:        {"nobody whose work it is", "本次变更的相关人员除外"},
	AskHave:          {"approved by %[3]v (%[1]v of %[2]v)", "%[3]v 已批准（%[1]v/%[2]v）"},
	AskUntil:         {"open until %v", "有效期至 %v"},
	AskReminded:      {"reminded at %v", "已于 %v 提醒"},
	AskSay:           {"to decide, say %[1]v or %[2]v", "请发送 %[1]v 或 %[2]v"},
	RulesChanged:     {"the rules changed: %v", "规则已变更：%v"},
	RulesChangedFor:  {"%[1]v approved before the rules changed, which no longer counts: %[2]v", "%[1]v 的批准早于规则变更，已失效：%[2]v"},
	NowNeedsReason:   {"Going without approval needs a reason. Usage: %v", "跳过审批须填写原因。用法：%v"},
	NowAsked:         {"It goes to %[1]v without approval, and everyone is told. Somebody who may approve, and whose work it is not, has to agree within %[2]v; until then %[1]v takes nothing by itself.", "它将不经批准直接部署到 %[1]v，并通知所有人。须由有批准权且与本次变更无关的人在 %[2]v内追认；在此之前 %[1]v 暂停自动部署。"},
	NotApproved:      {"without the approval that the environment asks for (%v needed)", "未经此环境所需的批准（需 %v 人）"},
	MustAgree:        {"went without approval: somebody has to agree by %v", "未经审批即上线：须在 %v 前追认"},
	MustAgreeLate:    {"went without approval, and nobody agreed by %v", "未经审批即上线，至 %v 仍无人追认"},
	AgreedBy:         {"went without approval; %v agreed afterwards", "未经审批即上线，事后由 %v 追认"},
	NotAgreedBy:      {"went without approval, and %[1]v does not agree: %[2]v", "未经审批即上线，%[1]v 不予追认：%[2]v"},
	NeverAgreed:      {"went without approval, and nobody agreed before something else took its place", "未经批准即上线，在被取代前一直未获追认"},
	Ratified:         {"You agreed to deployment %[1]v, which went to %[2]v without approval. Automatic deployments there go on.", "你已追认未经批准即上线到 %[2]v 的部署 %[1]v。那里的自动部署恢复。"},
	Unratified:       {"It is recorded that you do not agree to deployment %[1]v. It stays live in %[2]v, which takes nothing by itself until somebody deploys or promotes another release there, goes back (%[3]v), or agrees to it.", "已记录你不同意部署 %[1]v。它仍在 %[2]v 上线；在有人部署或发布其他版本、回滚（%[3]v）或追认之前，那里的自动部署保持暂停。"},
	RatifyOwn:        {"Deployment %v went without approval by your own word, so somebody else has to agree to it.", "部署 %v 是你要求跳过审批的，须由他人追认。"},
	NowTitle:         {"WITHOUT APPROVAL: %[1]v release %[2]v to %[3]v", "【未经审批】%[1]v 版本 %[2]v 部署到 %[3]v"},
	NowLateTitle:     {"NOT AGREED TO IN TIME: %[1]v release %[2]v in %[3]v", "【逾期未追认】%[1]v 版本 %[2]v（%[3]v）"},
	NowNoTitle:       {"NOT AGREED TO: %[1]v release %[2]v in %[3]v", "【不予追认】%[1]v 版本 %[2]v（%[3]v）"},
	NowYesTitle:      {"Agreed to afterwards: %[1]v release %[2]v in %[3]v", "【已追认】%[1]v 版本 %[2]v（%[3]v）"},
	RemindTitle:      {"Reminder: %[1]v release %[2]v to %[3]v still waits for approval", "【提醒】%[1]v 版本 %[2]v 部署到 %[3]v 仍在等待审批"},
	EnvironmentGone:  {"cancelled: the default branch's file has no such environment any more", "已取消：默认分支的文件中已没有此环境"},
	EnvironmentMoved: {"superseded: the environment's cluster, namespace, registry or manifests changed; ask for it again", "已被取代：此环境的集群、命名空间、镜像仓库或清单位置已变更，请重新发起"},

	// The check run and the living comment.

	HeadState:     {"State", "状态"},
	HeadBy:        {"By", "操作人"},
	HeadSince:     {"Since", "时间"},
	Approve:       {"Approve", "批准"},
	Reject:        {"Reject", "驳回"},
	RollBack:      {"Roll back", "回滚"},
	PromoteTo:     {"Promote to %v", "发布到 %v"},
	RollBackIn:    {"Roll back %v", "回滚 %v"},
	ButtonTo:      {"release %[1]v to %[2]v", "版本 %[1]v 到 %[2]v"},
	ButtonBack:    {"%[2]v, away from release %[1]v", "%[2]v：撤下版本 %[1]v"},
	LogOnPage:     {"This repository is public, so its log is not shown here; whoever may see it finds it on %v", "此仓库是公开的，因此这里不显示日志；有权查看的人可打开 %v"},
	LastLines:     {"The last lines of the log:", "日志的最后几行："},
	CommentTitle:  {"%[1]v, release %[2]v of commit %[3]v", "%[1]v 版本 %[2]v（提交 %[3]v）"},
	RunTitle:      {"%[1]v, commit %[2]v", "%[1]v（提交 %[2]v）"},
	WaitsFor:      {"Deployment %[1]v to %[2]v waits: %[3]v", "部署 %[1]v（到 %[2]v）等待中：%[3]v"},
	LastCommands:  {"The last commands, newest first:", "最近的命令（新的在前）："},
	CommandBy:     {"%[1]v by %[2]v: %[3]v", "%[2]v 发送 %[1]v：%[3]v"},
	ButtonBy:      {"%[1]v by %[2]v, by button: %[3]v", "%[2]v 点击按钮 %[1]v：%[3]v"},
	MoreCommands:  {"and %v earlier ones", "以及更早的 %v 条"},
	MoreLines:     {"%v more lines are left out here", "此处省略其余 %v 行"},
	ByButton:      {"by button", "通过按钮操作"},
	SayWhy:        {"%[1]v rejected deployment %[2]v by button; to say why: %[3]v", "%[1]v 通过按钮驳回了部署 %[2]v；请说明原因：%[3]v"},
	ReasonGiven:   {"The reason stands with deployment %v now.", "已为部署 %v 补充驳回原因。"},
	ButtonLate:    {"This came %[1]v after the button was pressed, so %[2]v was not done. To confirm it, press again or say it in a comment.", "按钮点击后过了 %[1]v 才送达，因此未执行 %[2]v。如需确认，请再次点击或在评论中发送。"},
	ButtonChanged: {"What the button was about has changed since; look again.", "按钮对应的内容已发生变化，请重新查看。"},
	WentLive:      {"went live in %v", "已上线，耗时 %v"},

	// What is said to a deployment that is being made.

	NothingRolls:        {"Nothing is being rolled out to %[1]v, so nothing was done. There: %[2]v %[3]v keeps later releases out.", "%[1]v 没有正在进行的发布，因此未执行任何操作。当前：%[2]v 发送 %[3]v 可阻止后续发布。"},
	PausedAlready:       {"It is paused already: %[1]v, by %[2]v since %[3]v. %[4]v lets it go on.", "%[1]v 已被 %[2]v 自 %[3]v 起暂停。发送 %[4]v 可继续。"},
	RestsAlready:        {"It rests already: %[1]v, %[2]v. %[3]v lets it go on.", "%[1]v 已处于停留：%[2]v。发送 %[3]v 可继续。"},
	FailsAlready:        {"It has failed and is being taken back: %[1]v, %[2]v.", "%[1]v 已失败，正在恢复：%[2]v。"},
	PauseAsked:          {"Paused: %[1]v. What is under way in the cluster is held. %[2]v lets it go on, %[3]v gives it up.", "已暂停：%[1]v，集群中正在进行的更新将停住。发送 %[2]v 可继续，发送 %[3]v 可中止。"},
	PauseBeside:         {"Paused: %[1]v. Pods that are coming up beside what is live still come up, and no further step begins. %[2]v lets it go on, %[3]v gives it up.", "已暂停：%[1]v。正在线上版本旁启动的 Pod 会继续启动，但不会进入下一步骤。发送 %[2]v 可继续，发送 %[3]v 可中止。"},
	PauseNotHeld:        {"The cluster cannot hold %v, so for that the pause counts from the next step on.", "集群无法停住 %v，对其而言暂停自下一步骤起生效。"},
	NothingRests:        {"Nothing is left to resume: %[1]v, %[2]v.", "没有可继续的内容：%[1]v，%[2]v。"},
	RestsForApproval:    {"%[1]v waits for approval, so resuming it is not enough: %[2]v approves it.", "%[1]v 正在等待审批，仅继续并不足够：请发送 %[2]v 批准。"},
	ResumeAsked:         {"%[1]v goes on: release %[2]v to %[3]v.", "%[1]v 继续进行：版本 %[2]v 到 %[3]v。"},
	AbortTraffic:        {"Given up: %[1]v. All traffic goes back to release %[2]v at once.", "已中止：%[1]v。全部流量立即回到版本 %[2]v。"},
	AbortBack:           {"Given up: %[1]v. %[2]v goes back to release %[3]v.", "已中止：%[1]v。%[2]v 回到版本 %[3]v。"},
	AbortFirst:          {"Given up: %[1]v. There is no release before, so release %[2]v stays partly live in %[3]v.", "已中止：%[1]v。此前没有线上版本，版本 %[2]v 将部分留在 %[3]v。"},
	AbortOfBack:         {"Given up: %[1]v. It is a way back itself, so release %[2]v stays partly live in %[3]v.", "已中止：%[1]v。它本身就是回滚，版本 %[2]v 将部分留在 %[3]v。"},
	AbortUntouched:      {"Given up: %[1]v. Nothing was changed in %[2]v yet; release %[3]v stays live.", "已中止：%[1]v。%[2]v 尚未改动，版本 %[3]v 保持线上。"},
	AbortUntouchedFirst: {"Given up: %[1]v. Nothing was changed in %[2]v yet.", "已中止：%[1]v。%[2]v 尚未改动。"},
	BackFromBeside:      {"Deployment %[1]v of release %[2]v, which was on its way, is taken back first, and gets no traffic any more; release %[3]v, which had stayed live, is applied again.", "正在进行的部署 %[1]v（版本 %[2]v）将先行撤回，不再接收流量；一直在线的版本 %[3]v 将重新应用。"},
	CancelTraffic:       {"What stands beside release %[1]v is removed, and release %[1]v keeps all traffic.", "版本 %[1]v 旁的新版本将被移除，全部流量保留在版本 %[1]v。"},
	CancelUntouched:     {"Nothing was changed in %v yet.", "%v 尚未改动。"},
	PausedBy:            {"paused by %[1]v since %[2]v", "已被 %[1]v 自 %[2]v 起暂停"},
	RestsUntil:          {"rests until %[1]v (%[2]v)", "停留至 %[1]v（%[2]v）"},
	RestsForResume:      {"rests until somebody resumes it (%v)", "停留中，等待有人继续（%v）"},
	RestsBeforeTurn:     {"rests until somebody resumes it, before the traffic turns", "停留中，等待有人继续后切换流量"},
	StepAt:              {"step %v", "阶段 %v"},
	RollsBy:             {"strategy %v", "策略 %v"},
	AtStep:              {"at step %v", "步骤：%v"},
	HasShare:            {"%v of the traffic goes to it", "承接流量 %v"},
	ResumedBy:           {"goes on, by %v", "已由 %v 放行，继续进行"},
	Undecided:           {"nobody decided in time", "无人按时审批"},
	AskRest:             {"To let it go on, say %[1]v; to give it up, %[2]v", "继续请发送 %[1]v，中止请发送 %[2]v"},
	Resume:              {"Resume", "继续"},
	Abort:               {"Abort", "中止"},
	SteerButton:         {"Yes: %v", "确认%v"},
	ConfirmResume:       {"The rollout of release %[2]v of %[1]v to %[3]v goes on.", "%[1]v 版本 %[2]v 将继续发布到 %[3]v。"},
	ConfirmAbort:        {"Release %[2]v of %[1]v is given up in %[3]v, and what was live before gets everything back.", "将中止 %[1]v 版本 %[2]v 在 %[3]v 的发布，全部恢复到之前的线上版本。"},
	StepCanary:          {"canary %v", "金丝雀 %v"},
	StepPause:           {"pause %v", "停留 %v"},
	StepPauseManual:     {"pause until resumed", "停留至人工继续"},
	StepApprove:         {"approval by %v", "%v 人审批"},

	// Release orders.

	OfPart:                {"About %[1]v: %[2]v", "关于 %[1]v：%[2]v"},
	NotAPart:              {"%[1]v is no part of an order: write %[3]v. Usage: %[2]v", "%[1]v 不是发布单的一项：请写成 %[3]v。用法：%[2]v"},
	PartsOfOrder:          {"A release order has 1 to %[1]v parts, each an app with its release. Usage: %[2]v", "发布单包含 1 至 %[1]v 项，每项为一个应用及其版本。用法：%[2]v"},
	OrderNeedsReason:      {"Say why, behind the parts: a release order needs a reason. Usage: %v", "请在各项之后写明原因：发布单必须有原因。用法：%v"},
	NoSuchApp:             {"There is no app %[1]v here; there is: %[2]v. Usage: %[3]v", "这里没有应用 %[1]v；现有：%[2]v。用法：%[3]v"},
	PartTwice:             {"%[1]v is named twice; an app goes once in an order. Usage: %[2]v", "%[1]v 出现了两次；同一发布单中每个应用只能出现一次。用法：%[2]v"},
	NoSuchOrder:           {"There is no release order %[1]v. Usage: %[2]v", "没有发布单 %[1]v。用法：%[2]v"},
	OrderMade:             {"Release order %[1]v to %[2]v is made: %[3]v. %[4]v", "已创建发布单 %[1]v（%[2]v）：%[3]v。%[4]v"},
	OrderTitle:            {"Release order %[1]v to %[2]v", "发布单 %[1]v（%[2]v）"},
	OrderBackTitle:        {"Release order %[1]v takes order %[2]v back in %[3]v", "发布单 %[1]v：在 %[3]v 回滚发布单 %[2]v"},
	OrderAsked:            {"Now %[1]v. Asked for by %[2]v: %[3]v", "当前状态：%[1]v。申请人 %[2]v：%[3]v"},
	OrderPart:             {"%[1]v, deployment %[2]v: %[3]v", "%[1]v，部署 %[2]v：%[3]v"},
	OrderPartDetails:      {"What part %v changes", "第 %v 项的变更"},
	OrderHasEnded:         {"Release order %[1]v has ended: %[2]v.", "发布单 %[1]v 已结束：%[2]v。"},
	OrderFailed:           {"failed at part %[1]v (%[2]v); what had not begun is cancelled", "在第 %[1]v 项（%[2]v）失败，尚未开始的已取消"},
	OrderDone:             {"Done: %v.", "已完成：%v。"},
	OrderOffer:            {"%v takes back what is live of it, the last part first.", "发送 %v 可按相反顺序回滚其中已上线的部分。"},
	OrderCancelled:        {"Release order %v is cancelled.", "发布单 %v 已取消。"},
	OrderNotWaiting:       {"Release order %[1]v does not wait for an approval (any more); it is %[2]v.", "发布单 %[1]v 当前不在等待审批；状态：%[2]v。"},
	OrderVotedAlready:     {"You have approved release order %v already.", "你已批准过发布单 %v。"},
	OrderApproved:         {"Approved release order %[1]v (%[2]v of %[3]v).", "已批准发布单 %[1]v（%[2]v/%[3]v）。"},
	OrderRejected:         {"Rejected release order %v; none of what waited in it goes on.", "已驳回发布单 %v；其中等待的内容不再进行。"},
	OrderApprovedBy:       {"Approved by %v.", "批准人：%v。"},
	OrderVoid:             {"What these had approved has changed since, so their approvals are void: %v.", "以下成员批准后内容已变更，其批准作废：%v。"},
	MayApprovePart:        {"%[1]v may be approved by %[2]v.", "%[1]v 可由 %[2]v 批准。"},
	Maintainers:           {"everyone who may maintain the repository", "拥有仓库 maintain 权限的人"},
	OrderHow:              {"One approval is for all parts: %[1]v or %[2]v", "一次批准适用于所有项：%[1]v 或 %[2]v"},
	OrderUntil:            {"It expires at %v.", "%v 过期。"},
	OrderIsRollback:       {"Release order %v takes another one back; to go forward again, make a new order.", "发布单 %v 本身是回滚；如需重新发布，请新建发布单。"},
	OrderTakenBack:        {"Release order %[1]v is taken back by release order %[2]v.", "发布单 %[1]v 由发布单 %[2]v 回滚。"},
	NothingToTakeBack:     {"Nothing of release order %[1]v is live, so there is nothing to take back. %[2]v", "发布单 %[1]v 没有仍在线上的内容，无需回滚。%[2]v"},
	PartOvertaken:         {"%[1]v is left as it is, since deployment %[2]v went there later.", "%[1]v 保持不变，因为之后已有部署 %[2]v。"},
	OrderLeft:             {"Left as they are, since something newer went there, or nothing was live before: %v.", "以下应用保持不变，因为之后已有新的部署，或此前没有线上版本：%v。"},
	PartWithoutBefore:     {"%v is left as it is, since nothing was live there before.", "%v 保持不变，因为此前没有线上版本。"},
	OrderRollbackMade:     {"Release order %[1]v takes order %[2]v back: %[3]v. Automatic deployments there wait until /unlock. %[4]v", "发布单 %[1]v 回滚发布单 %[2]v：%[3]v。相关环境的自动部署将暂停，直到 /unlock。%[4]v"},
	StatusOrder:           {"%[1]v: release order %[2]v, %[3]v", "%[1]v：发布单 %[2]v，%[3]v"},
	CancelledWithOrder:    {"cancelled, since its release order ended before", "发布单已提前结束，此项已取消"},
	WaitsForOrderApproval: {"waiting for the approval of its release order (%[1]v of %[2]v)", "等待发布单获批（%[1]v/%[2]v）"},
	PartOfOrder:           {"%[1]v, part %[2]v of %[3]v", "%[1]v，第 %[2]v 项，共 %[3]v 项"},

	DoctorTitle: {"A test by bot doctor: what Shipmate at %v says arrives here", "bot doctor 测试消息：%v 的 Shipmate 可以发到这里"},
}
