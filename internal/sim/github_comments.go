package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const maxCommentLength = 65536 // characters

// Comment is a comment on a pull request or an issue.
type Comment struct {
	ID               int64
	Number           int // of the pull request or issue
	User, Body       string
	Created, Updated time.Time
	Edits            int
}

// Reaction is a reaction on a comment.
type Reaction struct {
	ID            int64
	User, Content string
}

type comment struct {
	id               int64
	number           int
	author           *account
	body             string
	created, updated time.Time
	edits            int
	reactions        []*reaction
}

type reaction struct {
	id      int64
	user    *account
	content string
	created time.Time
}

// Comment adds a comment, as the person, and returns its id.
func (repo *Repo) Comment(number int, login, body string) (int64, error) {
	defer repo.lock()()
	i := repo.issues[number]
	if i == nil {
		return 0, fmt.Errorf("comment: no issue or pull request #%d", number)
	}
	return repo.addComment(i, repo.gh.addAccount(login, "User"), body).id, nil
}

func (repo *Repo) addComment(i *issue, author *account, body string) *comment {
	now := repo.gh.now()
	co := &comment{id: repo.gh.id(), number: i.number, author: author, body: body, created: now, updated: now}
	repo.comments = append(repo.comments, co)
	i.updated = now
	repo.sendComment("created", co, author, object{})
	return co
}

// EditComment changes the body, as the person.
func (repo *Repo) EditComment(id int64, login, body string) error {
	defer repo.lock()()
	co := repo.comment(id)
	if co == nil {
		return fmt.Errorf("edit comment %d: it does not exist", id)
	}
	repo.edit(co, repo.gh.addAccount(login, "User"), body)
	return nil
}

func (repo *Repo) edit(co *comment, actor *account, body string) {
	from := co.body
	co.body, co.updated, co.edits = body, repo.gh.now(), co.edits+1
	repo.sendComment("edited", co, actor, object{"changes": object{"body": object{"from": from}}})
}

// DeleteComment deletes it, as the person.
func (repo *Repo) DeleteComment(id int64, login string) error {
	defer repo.lock()()
	co := repo.comment(id)
	if co == nil {
		return fmt.Errorf("delete comment %d: it does not exist", id)
	}
	repo.remove(co, repo.gh.addAccount(login, "User"))
	return nil
}

func (repo *Repo) remove(co *comment, actor *account) {
	repo.comments = slices.DeleteFunc(repo.comments, func(c *comment) bool { return c == co })
	repo.sendComment("deleted", co, actor, object{})
}

// Comments returns the comments on the pull request or issue, oldest first.
func (repo *Repo) Comments(number int) []Comment {
	defer repo.lock()()
	var all []Comment
	for _, co := range repo.comments {
		if co.number == number {
			all = append(all, Comment{co.id, co.number, co.author.Login, co.body, co.created, co.updated, co.edits})
		}
	}
	return all
}

// Reactions returns the reactions on the comment, oldest first.
func (repo *Repo) Reactions(commentID int64) []Reaction {
	defer repo.lock()()
	var all []Reaction
	if co := repo.comment(commentID); co != nil {
		for _, r := range co.reactions {
			all = append(all, Reaction{r.id, r.user.Login, r.content})
		}
	}
	return all
}

func (repo *Repo) comment(id int64) *comment {
	for _, co := range repo.comments {
		if co.id == id {
			return co
		}
	}
	return nil
}

func (repo *Repo) sendComment(action string, co *comment, actor *account, payload object) {
	payload["comment"] = repo.commentJSON(co)
	payload["issue"] = repo.issueJSON(repo.issues[co.number])
	repo.gh.send("issue_comment", action, repo, actor, payload)
}

func (repo *Repo) issueJSON(i *issue) object {
	url := repo.api("/issues/", strconv.Itoa(i.number))
	html := repo.html("/issues/", strconv.Itoa(i.number))
	comments := 0
	for _, co := range repo.comments {
		if co.number == i.number {
			comments++
		}
	}
	o := object{
		"id": i.id, "node_id": nodeID("Issue", i.id), "number": i.number, "title": i.title, "state": i.state(), "locked": false, "url": url, "html_url": html,
		"repository_url": repo.api(), "labels_url": url + "/labels{/name}", "comments_url": url + "/comments", "events_url": url + "/events",
		"user": repo.gh.simpleUser(i.author), "body": nullable(i.body), "labels": []any{}, "milestone": nil, "assignee": nil, "assignees": []any{},
		"comments": comments, "created_at": nullableTime(i.created), "updated_at": nullableTime(i.updated), "closed_at": nullableTime(i.closed),
		"author_association": repo.association(i.author), "active_lock_reason": nil, "reactions": reactionCounts(nil, url+"/reactions"),
	}
	if i.pull != nil {
		html := repo.html("/pull/", strconv.Itoa(i.number))
		o["html_url"], o["draft"] = html, false
		o["pull_request"] = object{
			"url": repo.api("/pulls/", strconv.Itoa(i.number)), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
			"merged_at": nullableTime(i.pull.merged),
		}
	}
	return o
}

func reactionCounts(reactions []*reaction, url string) object {
	o := object{"url": url, "total_count": len(reactions), "+1": 0, "-1": 0, "laugh": 0, "confused": 0, "heart": 0, "hooray": 0, "eyes": 0, "rocket": 0}
	for _, r := range reactions {
		o[r.content] = o[r.content].(int) + 1
	}
	return o
}

func (repo *Repo) commentJSON(co *comment) object {
	url, number := repo.api("/issues/comments/", itoa(co.id)), strconv.Itoa(co.number)
	page := "/issues/"
	if repo.issues[co.number].pull != nil {
		page = "/pull/"
	}
	o := object{
		"id": co.id, "node_id": nodeID("IssueComment", co.id), "url": url, "html_url": repo.html(page, number, "#issuecomment-", itoa(co.id)),
		"issue_url": repo.api("/issues/", number), "user": repo.gh.simpleUser(co.author), "body": co.body, "author_association": repo.association(co.author),
		"created_at": nullableTime(co.created), "updated_at": nullableTime(co.updated), "reactions": reactionCounts(co.reactions, url+"/reactions"),
		"performed_via_github_app": nil,
	}
	if co.author == repo.gh.bot() {
		o["performed_via_github_app"] = repo.gh.app()
	}
	return o
}

func (c *call) listComments() (int, any) {
	i := c.issue("issue_number")
	if i == nil {
		return c.notFound()
	}
	since, _ := time.Parse(time.RFC3339, c.URL.Query().Get("since")) // absent: the beginning
	all := []object{}
	for _, co := range c.repo.comments {
		if co.number == i.number && !co.updated.Before(since) {
			all = append(all, c.repo.commentJSON(co))
		}
	}
	return http.StatusOK, page(c, all)
}

// commentBody reads and checks the body of a new or changed comment.
func (c *call) commentBody() (body string, status int, answer any) {
	var wanted struct{ Body string }
	if err := c.decode(&wanted); err != nil {
		status, answer = c.fail(http.StatusBadRequest, "Problems parsing JSON")
		return "", status, answer
	}
	if strings.TrimSpace(wanted.Body) == "" {
		status, answer = c.invalid("IssueComment", "body", "unprocessable", "Body cannot be blank")
	}
	if utf8.RuneCountInString(wanted.Body) > maxCommentLength {
		status, answer = c.invalid("IssueComment", "body", "unprocessable", "body is too long (maximum is 65536 characters)")
	}
	return wanted.Body, status, answer
}

func (c *call) createComment() (int, any) {
	i := c.issue("issue_number")
	if i == nil {
		return c.notFound()
	}
	if i.pull == nil && !c.token.may("issues", "write") || i.pull != nil && !c.token.may("pull_requests", "write") && !c.token.may("issues", "write") {
		return c.fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	body, status, answer := c.commentBody()
	if status != 0 {
		return status, answer
	}
	co := c.repo.addComment(i, c.gh.bot(), body)
	c.wroteComment(co, false)
	return http.StatusCreated, c.repo.commentJSON(co)
}

func (c *call) wroteComment(co *comment, updated bool) {
	c.gh.wrote(Write{Kind: "comment", Repository: c.repo.FullName(), Name: co.author.Login, Number: co.number, Description: co.body, Updated: updated})
}

func (c *call) getComment() (int, any) {
	co := c.repo.comment(c.number("comment_id"))
	if co == nil {
		return c.notFound()
	}
	return http.StatusOK, c.repo.commentJSON(co)
}

func (c *call) updateComment() (int, any) {
	co := c.repo.comment(c.number("comment_id"))
	if co == nil {
		return c.notFound()
	}
	body, status, answer := c.commentBody()
	if status != 0 {
		return status, answer
	}
	c.repo.edit(co, c.gh.bot(), body)
	c.wroteComment(co, true)
	return http.StatusOK, c.repo.commentJSON(co)
}

func (c *call) deleteComment() (int, any) {
	co := c.repo.comment(c.number("comment_id"))
	if co == nil {
		return c.notFound()
	}
	c.repo.remove(co, c.gh.bot())
	return http.StatusNoContent, nil
}

func (c *call) reactionJSON(r *reaction) object {
	return object{
		"id": r.id, "node_id": nodeID("Reaction", r.id), "user": c.gh.simpleUser(r.user), "content": r.content, "created_at": nullableTime(r.created),
	}
}

func (c *call) listReactions() (int, any) {
	co := c.repo.comment(c.number("comment_id"))
	if co == nil {
		return c.notFound()
	}
	content := c.URL.Query().Get("content")
	all := []object{}
	for _, r := range co.reactions {
		if content == "" || content == r.content {
			all = append(all, c.reactionJSON(r))
		}
	}
	return http.StatusOK, page(c, all)
}

// createReaction answers 200 where the same reaction stands already.
func (c *call) createReaction() (int, any) {
	co := c.repo.comment(c.number("comment_id"))
	if co == nil {
		return c.notFound()
	}
	var wanted struct{ Content string }
	if err := c.decode(&wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	for _, r := range co.reactions {
		if r.user == c.gh.bot() && r.content == wanted.Content {
			return http.StatusOK, c.reactionJSON(r)
		}
	}
	r := &reaction{id: c.gh.id(), user: c.gh.bot(), content: wanted.Content, created: c.gh.now()}
	co.reactions = append(co.reactions, r)
	c.gh.wrote(Write{Kind: "reaction", Repository: c.repo.FullName(), Name: co.author.Login, Number: co.number, State: r.content})
	return http.StatusCreated, c.reactionJSON(r)
}

func (c *call) deleteReaction() (int, any) {
	co := c.repo.comment(c.number("comment_id"))
	if co == nil {
		return c.notFound()
	}
	id := c.number("reaction_id")
	before := len(co.reactions)
	co.reactions = slices.DeleteFunc(co.reactions, func(r *reaction) bool { return r.id == id && r.user == c.gh.bot() })
	if len(co.reactions) == before {
		return c.notFound()
	}
	return http.StatusNoContent, nil
}
