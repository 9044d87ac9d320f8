package bot

import "github.com/tidwall/gjson"

// repoName is the full name of a delivery's repository, nil where none can be read. This is done before the answer, so it
// reads no further than it must; of what is no JSON it may take anything for it.
func repoName(body []byte) *string {
	name := gjson.GetBytes(body, "repository.full_name")
	if name.Type != gjson.String {
		return nil
	}
	return &name.Str
}
