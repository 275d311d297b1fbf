// What a stage does.
package stage
